//! The few words that the acceptance program understands.

use std::path::PathBuf;

pub(crate) struct Args {
    pub(crate) mode: String,
    pub(crate) binary: PathBuf,
    pub(crate) kills: u32,
    pub(crate) rate: u64,
    pub(crate) events: u64,
    pub(crate) gib: u64,
    pub(crate) port: u16,
    pub(crate) data: PathBuf,
    pub(crate) is_fixed: bool,
    /// Runs the faults whose name has one of these, with commas between.
    pub(crate) only: String,
    /// A file system that can be filled, for `faults`.
    pub(crate) small_disk: Option<PathBuf>,
}

impl Args {
    /// Reads the command line. What it does not know it passes over: `cargo test` hands every
    /// runner flags of its own.
    pub(crate) fn from_env() -> Self {
        let mut args = Self {
            mode: "quick".to_owned(),
            binary: built_binary(),
            kills: 10,
            rate: 2_000,
            events: 10_000,
            gib: 0,
            port: 0,
            data: PathBuf::new(),
            is_fixed: false,
            only: String::new(),
            small_disk: None,
        };
        let mut words = std::env::args().skip(1);
        while let Some(word) = words.next() {
            let mut value = || words.next().unwrap_or_default();
            let number = |text: String| text.parse().expect("a number follows the flag");
            match word.as_str() {
                "kill" | "poison" | "ready" | "story" | "quick" | "poison-node" | "faults" => {
                    args.mode = word;
                }
                "--binary" => args.binary = value().into(),
                "--kills" => args.kills = value().parse().expect("a number follows --kills"),
                "--rate" => args.rate = number(value()),
                "--events" => args.events = number(value()),
                "--gib" => args.gib = number(value()),
                "--port" => args.port = value().parse().expect("a port follows --port"),
                "--data" => args.data = value().into(),
                "--fixed" => args.is_fixed = true,
                "--only" => args.only = value(),
                "--small-disk" => args.small_disk = Some(value().into()),
                _ => {}
            }
        }
        args
    }
}

/// `target/<profile>/tidings`, next to the folder that this program lies in.
fn built_binary() -> PathBuf {
    let here = std::env::current_exe().expect("a program knows where it lies");
    let deps = here.parent().expect("it lies in a folder");
    deps.parent().expect("the folder lies in one").join("tidings")
}
