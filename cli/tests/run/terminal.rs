//! What a terminal that cannot be drawn over (`TERM=dumb`, as editors set it) shows.

use std::io::Read;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::world::{ChildProcess, Nginx, Run, RunWorld, until};

/// Runs a command in a terminal of its own, and writes what it shows to standard output.
const TERMINAL: &str = "import pty, sys; pty.spawn(sys.argv[1:])";

/// A dumb terminal in which the program runs until it is dropped.
struct Terminal {
    shown: Arc<Mutex<String>>,
    _process: ChildProcess,
}

impl Terminal {
    fn of(arguments: &[&str]) -> Self {
        let mut child = Command::new("python3")
            .args(["-c", TERMINAL, env!("CARGO_BIN_EXE_halftone")])
            .args(arguments)
            .env("TERM", "dumb")
            // Where CI is set, terminals get colours.
            .env("NO_COLOR", "1")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("scripts/setup test installs python3");
        let (mut output, shown) = (
            child.stdout.take().unwrap(),
            Arc::<Mutex<String>>::default(),
        );
        let seen = Arc::clone(&shown);
        std::thread::spawn(move || {
            let mut part = [0; 4096];
            while let Ok(length @ 1..) = output.read(&mut part) {
                seen.lock()
                    .unwrap()
                    .push_str(&String::from_utf8_lossy(&part[..length]));
            }
        });
        Self {
            shown,
            _process: ChildProcess(child),
        }
    }

    fn until_shown(&self, words: &str) {
        let shows = || self.shown.lock().unwrap().contains(words);
        until(
            &format!("the terminal shows {words}"),
            Duration::from_secs(60),
            shows,
        );
    }
}

#[test]
fn a_demo_on_a_dumb_terminal_shows_lines() {
    Terminal::of(&["demo"]).until_shown("StepStarted");
}

#[test]
fn a_run_on_a_dumb_terminal_shows_lines() {
    let world = RunWorld::new();
    let stable = Nginx::start(&world);
    world.write(&world.manifest(stable.port, 2, "{ratio: 20, hold: 600s}"));
    let (file, state) = (world.file(), world.state());
    let places = [file.to_str().unwrap(), "--state", state.to_str().unwrap()];
    let anywhere = ["--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"];
    let terminal = Terminal::of(&[&["run"][..], &places, &anywhere].concat());
    terminal.until_shown("users at http://127.0.0.1:");
    terminal.until_shown("shop/checkout ReleaseStarted");
}

#[test]
fn a_watch_on_a_dumb_terminal_shows_lines() {
    let world = RunWorld::new();
    let stable = Nginx::start(&world);
    world.write(&world.manifest(stable.port, 2, "{ratio: 20, hold: 600s}"));
    let run = Run::start(&world);
    let state = world.state();
    let terminal = Terminal::of(&["watch", "checkout", "--state", state.to_str().unwrap()]);
    terminal.until_shown("shop/checkout Holding");
    drop(run);
}
