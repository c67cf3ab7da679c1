//! Runs `tidings verify` as a person would, and looks whether it can be believed.

use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use serde_json::Value;

fn verify(folder: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidings"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("TIDINGS_") {
            command.env_remove(name);
        }
    }
    command.current_dir(folder).arg("verify").args(args);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn end(child: Child) -> Output {
    child.wait_with_output().expect("it is our child")
}

fn ledger(output: &Output) -> Value {
    let shown = String::from_utf8_lossy(&output.stdout);
    serde_json::from_str(&shown).unwrap_or_else(|error| {
        panic!("{error}: {shown}{}", String::from_utf8_lossy(&output.stderr))
    })
}

fn judge_again(folder: &Path, history: &Path) -> Output {
    let history = history.to_string_lossy();
    let judge = verify(folder, &["--history", &history, "-o", "json"]).spawn();
    end(judge.expect("the binary was built for this test"))
}

/// Nothing may be lost while nodes die, and runs at a time must not meet, even of one seed. We kill one
/// node every second, kill and pause another, and leave a third alone. Then we forge a history: the judge must not believe it.
#[test]
fn runs_pass_and_forged_histories_do_not() {
    let dir = tempfile::tempdir().expect("the system has room for temporary files");
    let folder = dir.path();
    let common = ["--for", "5s", "--rate", "200", "-o", "json"];
    let kills = ["--seed", "8123", "--kill-every", "1s"];
    let pauses = ["--seed", "8124", "--kill-every", "3s", "--pause-every", "1500ms"];
    // The third has the first one's seed.
    let runs =
        [kills.as_slice(), &pauses, &["--seed", "8123", "--kill-every", "0s"]].map(|flags| {
            let run = verify(folder, &[flags, &common].concat()).spawn();
            run.expect("the binary was built for this test")
        });
    let mut n_faults = Vec::new();
    for output in runs.map(end) {
        let ledger = ledger(&output);
        let told = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(0), "{ledger:#}\n{told}");
        assert_eq!(ledger["verdict"], "pass");
        for figure in ["missing", "out_of_order"] {
            assert_eq!(ledger[figure], 0, "{ledger:#}");
        }
        let of = |figure: &str| ledger[figure].as_u64().unwrap_or_default();
        assert!(100 <= of("acknowledged"), "{ledger:#}");
        assert!(of("duplicates") <= of("duplicates_bound"), "{ledger:#}");
        n_faults.push(of("faults_installed"));
    }

    assert!(
        n_faults.iter().take(2).all(|n| 1 <= *n) && n_faults.last() == Some(&0),
        "{n_faults:?}"
    );

    let history = folder.join(".tidings/verify/8123.jsonl");
    let again = judge_again(folder, &history);
    assert_eq!(again.status.code(), Some(0), "{:#}", ledger(&again));

    // One group never saw one event that was acknowledged.
    let text = fs::read_to_string(&history).expect("the run wrote it");
    let is_of_it = |line: &str| {
        let line: Value = serde_json::from_str(line).expect("each line is JSON");
        line["group"] == 2 && line["offset"] == 100 && line["topic"] == 1
    };
    let kept: Vec<_> = text.lines().filter(|line| !is_of_it(line)).collect();
    assert!(kept.len() < text.lines().count(), "the event was handled");
    let forged = folder.join("forged.jsonl");
    fs::write(&forged, kept.join("\n") + "\n").expect("the directory is ours");
    let output = judge_again(folder, &forged);
    assert_eq!(output.status.code(), Some(1), "{:#}", ledger(&output));
    assert_eq!(ledger(&output)["missing"], 1);

    // A history that was cut short proves nothing.
    fs::write(&forged, &text[..text.len() - 10]).expect("the directory is ours");
    let output = judge_again(folder, &forged);
    assert_eq!(output.status.code(), Some(4), "{:#}", ledger(&output));
}

#[cfg(target_os = "linux")]
mod left_behind {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    use rustix::fd::OwnedFd;
    use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open};

    use super::*;

    /// The node of a verify process, once there is one.
    fn node_of(judge: &Child) -> Pid {
        let parent = judge.id().to_string();
        loop {
            for entry in fs::read_dir("/proc").expect("this is Linux").flatten() {
                let stat = fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
                // After the name, which is in brackets: state, parent, …
                let rest = stat.rsplit(')').next().unwrap_or_default();
                if rest.split_whitespace().nth(1) == Some(&parent) {
                    let name = entry.file_name();
                    let pid = name.to_string_lossy().parse().ok().and_then(Pid::from_raw);
                    return pid.expect("what has a stat file is a process");
                }
            }
        }
    }

    fn wait_for_end(process: &OwnedFd) {
        let mut watched = [PollFd::new(process, PollFlags::IN)];
        let wait_max = Timespec { tv_sec: 20, tv_nsec: 0 };
        let n_ready = poll(&mut watched, Some(&wait_max)).expect("it can be watched");
        assert_eq!(n_ready, 1, "the node goes on without its judge");
    }

    /// A node without its judge would run for ever. We end the judge in order, then by SIGKILL, then
    /// by SIGKILL while the node is stopped and cannot see it.
    #[test]
    fn no_node_outlives_its_judge() {
        let dir = tempfile::tempdir().expect("the system has room for temporary files");
        for (signal, is_node_stopped, code) in [
            (Signal::TERM, false, Some(4)),
            (Signal::KILL, false, None),
            (Signal::KILL, true, None),
        ] {
            let data = dir.path().join(format!("{signal:?}-{is_node_stopped}"));
            let data_arg = data.to_string_lossy();
            let flags = ["--for", "60s", "--rate", "50", "--data", &data_arg, "-o", "json"];
            let run = verify(dir.path(), &flags).spawn();
            let mut judge = run.expect("the binary was built for this test");
            let node = node_of(&judge);
            while !data.join("IDENTITY").exists() {
                assert!(judge.try_wait().is_ok_and(|status| status.is_none()), "it ended early");
            }
            let process = pidfd_open(node, PidfdFlags::empty()).expect("the node runs");
            if is_node_stopped {
                kill_process(node, Signal::STOP).expect("the node runs");
            }
            kill_process(Pid::from_child(&judge), signal).expect("the judge runs");
            let status = judge.wait().expect("it is our child");
            assert_eq!(status.code(), code, "{signal:?} {:?}", status.signal());
            wait_for_end(&process);
        }
    }
}
