//! `kubectl halftone`, as a user types it: kubectl finds the plugin on its path by its file's name.

use std::{
    env,
    fs::File,
    io::ErrorKind,
    os::unix::fs::symlink,
    path::PathBuf,
    process::{Child, Command, Stdio},
};

use serde_json::Value;

use super::{Scene, kubectl};

/// What a command has said and how it ended.
#[derive(Clone, Debug)]
pub struct CliOutput {
    /// Exit code; none after a signal.
    pub code: Option<i32>,
    /// Standard output.
    pub out: String,
    /// Standard error.
    pub err: String,
}

impl CliOutput {
    /// Standard output as JSON.
    ///
    /// # Panics
    /// When it is none.
    #[must_use]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| no(&format!("{error}: {self:?}")))
    }
}

/// A command that goes on by itself. What it says goes into a file, so that it never waits for a reader.
#[derive(Debug)]
pub struct CliProcess {
    child: Child,
    file: PathBuf,
}

impl CliProcess {
    /// What it has said so far.
    #[must_use]
    pub fn said(&self) -> String {
        std::fs::read_to_string(&self.file).unwrap_or_default()
    }

    /// Its exit code, once it has ended by itself.
    pub fn ended(&mut self) -> Option<i32> {
        self.child.try_wait().ok().flatten()?.code()
    }
}

impl Drop for CliProcess {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_file(&self.file);
    }
}

impl Scene {
    /// Runs `kubectl halftone` in this scene's namespace.
    ///
    /// # Panics
    /// Without the binary that HALFTONE_E2E_CLI names.
    #[must_use]
    pub fn cli(&self, args: &[&str]) -> CliOutput {
        let ran = self.plugin(args).output();
        let output = ran.unwrap_or_else(|error| no(&format!("kubectl cannot be run: {error}")));
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let said = CliOutput {
            code: output.status.code(),
            out: text(&output.stdout),
            err: text(&output.stderr),
        };
        let (out, err) = (said.out.trim_end(), said.err.trim_end());
        self.tell(&format!(
            "$ kubectl halftone {} → {:?}\n{out}\n{err}",
            args.join(" "),
            said.code
        ));
        said
    }

    /// Runs `kubectl halftone` beside the test.
    ///
    /// # Panics
    /// As [`Scene::cli`].
    #[must_use]
    pub fn follow_cli(&self, args: &[&str]) -> CliProcess {
        self.follow(self.plugin(args), "halftone")
    }

    /// Runs kubectl in this scene's namespace beside the test.
    ///
    /// # Panics
    /// When it cannot be run.
    #[must_use]
    pub fn follow_kubectl(&self, args: &[&str]) -> CliProcess {
        let mut command = Command::new("kubectl");
        command.args(self.args(args));
        self.follow(command, "kubectl")
    }

    fn follow(&self, mut command: Command, name: &str) -> CliProcess {
        let file = env::temp_dir().join(format!("{}-{name}-{}", self.namespace, args_of(&command)));
        let out =
            File::create(&file).unwrap_or_else(|error| no(&format!("{}: {error}", file.display())));
        let child = command.stdin(Stdio::null()).stdout(out).spawn();
        let child = child.unwrap_or_else(|error| no(&format!("kubectl cannot be run: {error}")));
        CliProcess { child, file }
    }

    fn plugin(&self, args: &[&str]) -> Command {
        let binary = env::var_os("HALFTONE_E2E_CLI").filter(|binary| !binary.is_empty());
        let binary = binary.unwrap_or_else(|| {
            no("HALFTONE_E2E_CLI is not set: it names the halftone to test; `make e2e` takes that of the image")
        });
        let place = env::temp_dir().join(format!("{}-plugin", self.namespace));
        let link = std::fs::create_dir_all(&place)
            .and_then(|()| symlink(&binary, place.join("kubectl-halftone")));
        if let Err(error) = link
            && error.kind() != ErrorKind::AlreadyExists
        {
            no(&format!("{}: {error}", place.display()));
        }
        let mut path = place.into_os_string();
        path.push(":");
        path.push(env::var_os("PATH").unwrap_or_default());
        let mut command = Command::new("kubectl");
        command
            .env("PATH", path)
            .arg("halftone")
            .args(self.args(args));
        command
    }
}

/// A name for a file, from what is asked.
fn args_of(command: &Command) -> String {
    let args = command.get_args().map(|arg| {
        arg.to_string_lossy()
            .replace(|c: char| !c.is_alphanumeric(), "")
    });
    args.collect::<Vec<_>>().join("-")
}

fn no(words: &str) -> ! {
    kubectl::fail(&kubectl::KubectlError {
        asked: "halftone".to_owned(),
        words: words.to_owned(),
    })
}
