// What Git tools make of GrayReleases, said by their own code: kstatus, which Flux and Helm read objects with, and the
// Lua of gitops/argocd-cm.yaml in the interpreter that Argo CD embeds, with the libraries that it opens. The objects
// are those of gitops/recorded, which the tests of rollout write.
package gitops

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/fluxcd/cli-utils/pkg/kstatus/status"
	lua "github.com/yuin/gopher-lua"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"
)

const gitops = "../../gitops"

// One row for each recorded object: what Flux says, what Argo CD says, and which actions Argo CD offers.
var expected = map[string]struct{ flux, argo, actions string }{
	"not_seen_yet": {"InProgress", "Progressing", ""},
	"pending_before_any_proxy_has_the_document": {"InProgress", "Progressing", "pause promote"},
	"new_generation_on_its_way":                 {"InProgress", "Progressing", "pause promote rollback"},
	"step_with_a_straggler":                     {"InProgress", "Progressing", "pause promote rollback"},
	"holding":                                   {"Current", "Progressing", "pause promote rollback"},
	"reports_missing":                           {"Current", "Progressing", "pause promote rollback"},
	"awaiting_traffic":                          {"Current", "Progressing", "pause promote rollback"},
	"awaiting_traffic_beyond_patience":          {"Current", "Suspended", "pause promote rollback"},
	"awaiting_approval":                         {"Current", "Suspended", "approve pause promote rollback"},
	"awaiting_the_window":                       {"Current", "Suspended", "pause promote"},
	"paused_by_command":                         {"Current", "Suspended", "resume rollback"},
	"paused_by_a_failure":                       {"Current", "Degraded", "resume rollback"},
	"forced":                                    {"Current", "Suspended", "pause"},
	"idle":                                      {"Current", "Healthy", "pause"},
	"plain":                                     {"Current", "Healthy", ""},
	"target_reached":                            {"Current", "Healthy", "rollback"},
	"promoted":                                  {"Current", "Healthy", "rollback"},
	"rolling_back":                              {"Failed", "Degraded", "retry"},
	"rolled_back_by_request":                    {"Failed", "Degraded", "retry"},
	"rolled_back_by_verdict":                    {"Failed", "Degraded", "retry"},
	"frozen_for_want_of_stable":                 {"Failed", "Degraded", "pause promote rollback"},
	"refused":                                   {"Failed", "Degraded", "pause"},
}

func TestEveryRecordedObjectIsReadAsItIs(t *testing.T) {
	recorded, err := filepath.Glob(filepath.Join(gitops, "recorded", "*.json"))
	if err != nil || len(recorded) != len(expected) {
		t.Fatalf("%d objects are recorded and %d expected: %v", len(recorded), len(expected), err)
	}
	argo := readArgo(t)
	for _, file := range recorded {
		name := strings.TrimSuffix(filepath.Base(file), ".json")
		t.Run(name, func(t *testing.T) {
			want, object := expected[name], read(t, file)
			result, err := status.Compute(&unstructured.Unstructured{Object: object})
			if err != nil || result.Status.String() != want.flux {
				t.Errorf("kstatus says %+v (%v), not %s", result, err, want.flux)
			}
			health := argo.run(t, argo.health, object)
			if health["status"] != want.argo || health["message"] == "" {
				t.Errorf("Argo CD says %v, not %s", health, want.argo)
			}
			if offered := argo.offered(t, object); offered != want.actions {
				t.Errorf("Argo CD offers %q, not %q", offered, want.actions)
			}
		})
	}
}

func TestAnActionAsksWithThePresentToken(t *testing.T) {
	argo := readArgo(t)
	object := read(t, filepath.Join(gitops, "recorded", "awaiting_approval.json"))
	token := object["status"].(map[string]any)["requestToken"].(string)
	for verb, action := range argo.actions {
		request := verb + "@" + token
		if verb == "approve" {
			request = "approve/1@" + token
		}
		for _, annotations := range []any{nil, map[string]any{"team": "shop"}} {
			metadata := object["metadata"].(map[string]any)
			delete(metadata, "annotations")
			if annotations != nil {
				metadata["annotations"] = annotations
			}
			asked := argo.run(t, action, object)["metadata"].(map[string]any)["annotations"].(map[string]any)
			if asked["halftone.dev/request"] != request {
				t.Errorf("%s asks %v", verb, asked)
			}
			if annotations != nil && asked["team"] != "shop" {
				t.Errorf("%s loses annotations: %v", verb, asked)
			}
		}
	}
}

func TestTheLastGoodStatusOfAnOlderGenerationIsNotBelieved(t *testing.T) {
	object := read(t, filepath.Join(gitops, "recorded", "promoted.json"))
	metadata := object["metadata"].(map[string]any)
	metadata["generation"] = metadata["generation"].(int64) + 1
	result, err := status.Compute(&unstructured.Unstructured{Object: object})
	if err != nil || result.Status != status.InProgressStatus {
		t.Errorf("kstatus says %+v (%v)", result, err)
	}
	argo := readArgo(t)
	if health := argo.run(t, argo.health, object); health["status"] != "Progressing" {
		t.Errorf("Argo CD says %v", health)
	}
	if offered := argo.offered(t, object); offered != "" {
		t.Errorf("Argo CD offers %q", offered)
	}
}

func read(t *testing.T, file string) map[string]any {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	object := &unstructured.Unstructured{}
	if err := json.Unmarshal(text, object); err != nil {
		t.Fatal(err)
	}
	return object.Object
}

type argoCD struct {
	health, discovery string
	actions           map[string]string
}

// The scripts of gitops/argocd-cm.yaml, unpacked as Argo CD does.
func readArgo(t *testing.T) argoCD {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(gitops, "argocd-cm.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var file struct{ Data map[string]string }
	if err := yaml.Unmarshal(text, &file); err != nil {
		t.Fatal(err)
	}
	var actions struct {
		Discovery   string `json:"discovery.lua"`
		Definitions []struct {
			Name   string `json:"name"`
			Action string `json:"action.lua"`
		} `json:"definitions"`
	}
	const prefix, kind = "resource.customizations.", ".halftone.dev_GrayRelease"
	if err := yaml.UnmarshalStrict([]byte(file.Data[prefix+"actions"+kind]), &actions); err != nil {
		t.Fatal(err)
	}
	argo := argoCD{file.Data[prefix+"health"+kind], actions.Discovery, map[string]string{}}
	for _, definition := range actions.Definitions {
		argo.actions[definition.Name] = definition.Action
	}
	if argo.health == "" || argo.discovery == "" || len(argo.actions) != 6 {
		t.Fatalf("argocd-cm.yaml lacks scripts: %v", argo)
	}
	return argo
}

// The actions that are not disabled, in order. Every one that is offered has its script.
func (argo argoCD) offered(t *testing.T, object map[string]any) string {
	t.Helper()
	found := argo.run(t, argo.discovery, object)
	var enabled []string
	for _, name := range []string{"approve", "pause", "promote", "resume", "retry", "rollback"} {
		action, known := found[name].(map[string]any)
		if _, scripted := argo.actions[name]; !known || !scripted {
			t.Errorf("%s is not among %v", name, found)
		} else if action["disabled"] == false {
			enabled = append(enabled, name)
		}
	}
	return strings.Join(enabled, " ")
}

// Runs a script as Argo CD does: `obj` in, a table out, no library but the basic one and `table`.
func (argoCD) run(t *testing.T, script string, object map[string]any) map[string]any {
	t.Helper()
	state := lua.NewState(lua.Options{SkipOpenLibs: true})
	defer state.Close()
	for name, open := range map[string]lua.LGFunction{
		lua.BaseLibName: lua.OpenBase, lua.TabLibName: lua.OpenTable,
	} {
		state.Push(state.NewFunction(open))
		state.Push(lua.LString(name))
		state.Call(1, 0)
	}
	state.SetGlobal("obj", toLua(state, object))
	if err := state.DoString(script); err != nil {
		t.Fatal(err)
	}
	return fromLua(state.Get(-1)).(map[string]any)
}

func toLua(state *lua.LState, value any) lua.LValue {
	switch value := value.(type) {
	case map[string]any:
		table := state.NewTable()
		for key, item := range value {
			table.RawSetString(key, toLua(state, item))
		}
		return table
	case []any:
		table := state.NewTable()
		for _, item := range value {
			table.Append(toLua(state, item))
		}
		return table
	case string:
		return lua.LString(value)
	case bool:
		return lua.LBool(value)
	case int64:
		return lua.LNumber(value)
	case float64:
		return lua.LNumber(value)
	default:
		return lua.LNil
	}
}

func fromLua(value lua.LValue) any {
	switch value := value.(type) {
	case *lua.LTable:
		object := map[string]any{}
		value.ForEach(func(key, item lua.LValue) { object[key.String()] = fromLua(item) })
		return object
	case lua.LString:
		return string(value)
	case lua.LNumber:
		return float64(value)
	case lua.LBool:
		return bool(value)
	default:
		return nil
	}
}
