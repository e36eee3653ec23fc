//! Documents from a directory, changed as the kubelet, an editor and an accident change it.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;

use halftone_proxy::run::{DocumentSource, Proxy};
use serde_json::{Value, json};

use super::support::{BackgroundLoad, backend, get, release, settings, until};

fn start(dir: &Path) -> Proxy {
    Proxy::start(&settings(), DocumentSource::Directory(dir.to_owned())).unwrap()
}

fn expect(address: SocketAddr, body: &str) {
    until(body, || get(address, "/x").into_text(), |got| got == body);
}

fn page(proxy: &Proxy) -> Value {
    get(proxy.admin_address().unwrap(), "/config").json()
}

/// A generation as the kubelet writes it: a new directory, a link renamed over the old one, the old one removed.
fn swap(dir: &Path, generation: u64, files: &[(&str, &str)]) {
    let target = dir.join(format!("..gen{generation}"));
    fs::create_dir(&target).unwrap();
    for (name, text) in files {
        fs::write(target.join(name), text).unwrap();
        let _ = symlink(Path::new("..data").join(name), dir.join(name));
    }
    let old = fs::read_link(dir.join("..data")).ok();
    symlink(target.file_name().unwrap(), dir.join("..data_tmp")).unwrap();
    fs::rename(dir.join("..data_tmp"), dir.join("..data")).unwrap();
    if let Some(old) = old {
        fs::remove_dir_all(dir.join(old)).unwrap();
    }
}

#[test]
fn a_mounted_config_map_is_followed_through_its_swaps() {
    let dir = tempfile::tempdir().unwrap();
    let stable = backend("stable");
    let document = |revision| release("checkout", revision, stable, json!({}));
    let fleet = |revision: u64| format!("schema: 1\nrevision: {revision}\n");
    swap(
        dir.path(),
        1,
        &[("checkout.json", &document(1)), ("fleet.yaml", &fleet(1))],
    );
    let proxy = start(dir.path());
    let load = BackgroundLoad::start(1, proxy.addresses()[0], |client| {
        assert_eq!(client.get("/x").status(), 200)
    });
    for revision in 1..=50 {
        if revision > 1 {
            swap(
                dir.path(),
                revision,
                &[
                    ("checkout.json", &document(revision)),
                    ("fleet.yaml", &fleet(revision)),
                ],
            );
        }
        expect(proxy.addresses()[0], &format!("stable /x r{revision}"));
        // The page follows the workers.
        let is_current =
            |page: &Value| page.pointer("/applied/0/document/revision") == Some(&json!(revision));
        let page = until(
            "the document's revision on the page",
            || page(&proxy),
            is_current,
        );
        assert_eq!(
            page.pointer("/fleet/revision"),
            Some(&json!(revision)),
            "files of one generation go together"
        );
        assert_eq!(page.pointer("/rejected"), Some(&json!([])));
    }
    load.end();
}

#[test]
fn a_broken_edit_changes_nothing_until_it_is_put_right() {
    let dir = tempfile::tempdir().unwrap();
    let stable = backend("stable");
    let file = dir.path().join("checkout.yaml");
    let document = |revision| release("checkout", revision, stable, json!({}));
    fs::write(&file, document(1)).unwrap();
    let proxy = start(dir.path());
    expect(proxy.addresses()[0], "stable /x r1");
    fs::write(&file, document(2).replace("\"ratio\"", "\"ratio")).unwrap();
    let rejected = until(
        "a refusal",
        || page(&proxy),
        |page| page.pointer("/rejected/0").is_some(),
    );
    assert_eq!(
        rejected.pointer("/rejected/0/source"),
        Some(&json!("checkout.yaml"))
    );
    assert!(
        rejected
            .pointer("/rejected/0/message")
            .unwrap()
            .as_str()
            .unwrap()
            .contains("line 1"),
        "{rejected:#}"
    );
    assert_eq!(get(proxy.addresses()[0], "/x").into_text(), "stable /x r1");
    assert_eq!(get(proxy.admin_address().unwrap(), "/readyz").status(), 200);
    fs::write(&file, document(2)).unwrap();
    expect(proxy.addresses()[0], "stable /x r2");
    until(
        "no refusal",
        || page(&proxy),
        |page| page.pointer("/rejected") == Some(&json!([])),
    );
}

#[test]
fn a_directory_that_empties_or_vanishes_changes_nothing() {
    let parent = tempfile::tempdir().unwrap();
    let dir = parent.path().join("config");
    fs::create_dir(&dir).unwrap();
    let stable = backend("stable");
    fs::write(
        dir.join("checkout.yaml"),
        release("checkout", 1, stable, json!({})),
    )
    .unwrap();
    let proxy = start(&dir);
    expect(proxy.addresses()[0], "stable /x r1");
    let trouble = |word: &str| {
        until(
            word,
            || page(&proxy),
            |page| {
                page["sourceTrouble"]
                    .as_str()
                    .is_some_and(|why| why.contains(word))
            },
        );
        assert_eq!(get(proxy.addresses()[0], "/x").into_text(), "stable /x r1");
        assert_eq!(page(&proxy).pointer("/orphaned"), Some(&json!([])));
        assert_eq!(get(proxy.admin_address().unwrap(), "/readyz").status(), 200);
    };
    fs::remove_file(dir.join("checkout.yaml")).unwrap();
    trouble("no *.json");
    fs::remove_dir(&dir).unwrap();
    trouble("No such file");
    fs::write(&dir, "a file in its place").unwrap();
    trouble("Not a directory");
    fs::remove_file(&dir).unwrap();
    fs::create_dir(&dir).unwrap();
    fs::write(
        dir.join("checkout.yaml"),
        release("checkout", 2, stable, json!({})),
    )
    .unwrap();
    expect(proxy.addresses()[0], "stable /x r2");
    until(
        "no trouble",
        || page(&proxy),
        |page| page["sourceTrouble"].is_null(),
    );
}

#[test]
fn a_file_that_cannot_be_read_is_refused_and_the_others_go_on() {
    let dir = tempfile::tempdir().unwrap();
    let stable = backend("stable");
    fs::write(
        dir.path().join("checkout.yaml"),
        release("checkout", 1, stable, json!({})),
    )
    .unwrap();
    symlink("nowhere", dir.path().join("lost.yaml")).unwrap();
    let secret = dir.path().join("secret.yaml");
    fs::write(&secret, "").unwrap();
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o0)).unwrap();
    let proxy = start(dir.path());
    expect(proxy.addresses()[0], "stable /x r1");
    let page = page(&proxy);
    let of = |source: &str| {
        let rejected = page["rejected"].as_array().unwrap();
        rejected
            .iter()
            .find(|rejected| rejected["source"] == source)
            .unwrap_or_else(|| panic!("{page:#}"))
            .clone()
    };
    assert_eq!(of("lost.yaml")["reason"], "Unreadable");
    // Root reads everything; then the file is merely empty.
    assert!(["Unreadable", "Malformed"].contains(&of("secret.yaml")["reason"].as_str().unwrap()));
    let ready = get(proxy.admin_address().unwrap(), "/readyz");
    assert_eq!(ready.status(), 503, "nothing serves in their place");
    assert!(ready.text().contains("lost.yaml"), "{ready:?}");
}

/// Makes something at a path.
type Put<'a> = &'a dyn Fn(&Path);

#[test]
fn whatever_is_put_in_a_files_place_traffic_stays_as_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let stable = backend("stable");
    let (file, aside) = (dir.path().join("checkout.yaml"), dir.path().join("aside"));
    fs::write(&file, release("checkout", 1, stable, json!({}))).unwrap();
    fs::write(
        dir.path().join("other.yaml"),
        release("other", 1, stable, json!({})),
    )
    .unwrap();
    let proxy = start(dir.path());
    let address = proxy.addresses()[0];
    expect(address, "stable /x r1");
    let load = BackgroundLoad::start(2, address, |client| {
        assert_eq!(client.get("/x").into_text(), "stable /x r1")
    });
    let rejected = |page: &Value| {
        page.pointer("/rejected/0/reason")
            .and_then(Value::as_str)
            .map(str::to_owned)
    };
    let orphaned = |page: &Value| page.pointer("/orphaned/0").is_some();
    let put = |what: Put<'_>| {
        what(&aside);
        // Neither replaces the other by a rename.
        if aside.is_dir() || file.is_dir() {
            let _ = fs::remove_file(&file).or_else(|_| fs::remove_dir(&file));
        }
        fs::rename(&aside, &file).unwrap();
    };
    let noise: Vec<u8> = (0..5_000u32)
        .map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8)
        .collect();
    let refused: [(&str, Put<'_>); 5] = [
        ("Malformed", &|path| fs::write(path, &noise).unwrap()),
        ("TooLarge", &|path| {
            fs::write(path, vec![b'#'; 8 << 20]).unwrap()
        }),
        ("Unreadable", &|path| {
            symlink("checkout.yaml", path).unwrap()
        }),
        ("Unreadable", &|path| symlink("/nonexistent", path).unwrap()),
        ("Malformed", &|path| {
            symlink("/proc/self/environ", path).unwrap()
        }),
    ];
    for (reason, what) in refused {
        put(what);
        until(
            reason,
            || page(&proxy),
            |page| rejected(page).as_deref() == Some(reason),
        );
    }
    let no_files: [Put<'_>; 3] = [
        &|path| assert!(Command::new("mkfifo").arg(path).status().unwrap().success()),
        &|path| symlink("/dev/zero", path).unwrap(),
        &|path| fs::create_dir(path).unwrap(),
    ];
    for what in no_files {
        put(&|path| fs::write(path, &noise).unwrap());
        until(
            "Malformed",
            || page(&proxy),
            |page| rejected(page).is_some(),
        );
        put(what);
        until(
            "a document without a file",
            || page(&proxy),
            |page| orphaned(page) && rejected(page).is_none(),
        );
    }
    assert!(load.end() > 0);
    put(&|path| fs::write(path, release("checkout", 2, stable, json!({}))).unwrap());
    expect(address, "stable /x r2");
    assert_eq!(page(&proxy).pointer("/orphaned"), Some(&json!([])));
}
