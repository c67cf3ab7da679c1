//! The one list of what can be set: name, meaning, how it is read and how it is shown.

use std::net::IpAddr;
use std::path::PathBuf;

use tidings_types::id::NodeId;

use crate::config::{Config, LogFormat, Pace, Secret};
use crate::quantity::{parse_duration, parse_size, show_duration, show_size};

/// One thing that can be set.
#[derive(Clone, Copy, Debug)]
pub struct Key {
    /// Table and name: `http.port`.
    pub name: &'static str,
    /// What it is for, in words; each line at most 90 characters.
    pub doc: &'static str,
    /// How its value stands in a file.
    pub form: Form,
    /// Reads the value from text into the configuration.
    pub(crate) set: fn(&mut Config, &str) -> Result<(), String>,
    /// Shows the value as text that `set` reads.
    pub(crate) show: fn(&Config) -> String,
}

/// How a value stands in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Bare.
    Number,
    /// In quotes.
    Text,
    /// In quotes, and never shown.
    Secret,
}

impl Key {
    /// The environment variable that sets it: `TIDINGS_HTTP__PORT`.
    pub fn variable(&self) -> String {
        format!("{VARIABLE_PREFIX}{}", self.name.replace('.', "__").to_uppercase())
    }

    /// The value as people may see it, in the form of a file.
    pub fn show(&self, config: &Config) -> String {
        let text = (self.show)(config);
        match self.form {
            Form::Number => text,
            Form::Text => format!("{text:?}"),
            Form::Secret if text.is_empty() => "\"\"".to_owned(),
            Form::Secret => "(set)".to_owned(),
        }
    }
}

/// What the name of each of our environment variables begins with.
pub const VARIABLE_PREFIX: &str = "TIDINGS_";

/// Everything that can be set, in the order of `reference.toml`.
pub const KEYS: &[Key] = &[
    Key {
        name: "node.id",
        doc: "Number of this node in its cluster, 1 or above; its name is n1 for 1.\n\
              An id is never given to another node.",
        form: Form::Number,
        set: |config, text| put(&mut config.node.id, parse_number(text).map(NodeId::new)),
        show: |config| config.node.id.get().to_string(),
    },
    Key {
        name: "node.data_dir",
        doc: "Where the node keeps its data. One process at a time may have it open.",
        form: Form::Text,
        set: |config, text| put(&mut config.node.data_dir, parse_path(text)),
        show: |config| config.node.data_dir.display().to_string(),
    },
    Key {
        name: "node.drain_wait",
        doc: "How long a node that is told to end waits for handlers that run.",
        form: Form::Text,
        set: |config, text| put(&mut config.node.drain_wait, parse_duration(text)),
        show: |config| show_duration(config.node.drain_wait),
    },
    Key {
        name: "http.address",
        doc: "Address of the HTTP side. Other than loopback needs http.token.",
        form: Form::Text,
        set: |config, text| put(&mut config.http.address, parse_address(text)),
        show: |config| config.http.address.to_string(),
    },
    Key {
        name: "http.port",
        doc: "Port of the HTTP side; the port between nodes is the one above it.\n\
              0 lets the system choose.",
        form: Form::Number,
        set: |config, text| put(&mut config.http.port, parse_number(text)),
        show: |config| config.http.port.to_string(),
    },
    Key {
        name: "http.token",
        doc: "What callers must present as \"authorization: Bearer …\"; empty: nothing.\n\
              16 or more visible ASCII characters.",
        form: Form::Secret,
        set: |config, text| put(&mut config.http.token, Ok(Secret::new(text))),
        show: |config| config.http.token.expose().to_owned(),
    },
    Key {
        name: "replica.pace",
        doc: "How patient the replica is: \"normal\", or \"relaxed\" (three times) on starved machines.",
        form: Form::Text,
        set: |config, text| put(&mut config.replica.pace, parse_word(text, &PACES)),
        show: |config| show_word(config.replica.pace, &PACES),
    },
    Key {
        name: "retention.age",
        doc: "Events older than this may go, never one that a live group has not settled.\n\
              Read and checked, not acted on yet: nothing goes.",
        form: Form::Text,
        set: |config, text| put(&mut config.retention.age, parse_duration(text)),
        show: |config| show_duration(config.retention.age),
    },
    Key {
        name: "retention.bytes",
        doc: "Events beyond so many bytes of log may go; \"0 B\": no bound.\n\
              Read and checked, not acted on yet: nothing goes.",
        form: Form::Text,
        set: |config, text| put(&mut config.retention.bytes, parse_size(text)),
        show: |config| show_size(config.retention.bytes),
    },
    Key {
        name: "log.level",
        doc: "What is logged: error, warn, info, debug, trace, or directives such as\n\
              \"info,tidings_node=debug\".",
        form: Form::Text,
        set: |config, text| put(&mut config.log.level, Ok(text.to_owned())),
        show: |config| config.log.level.clone(),
    },
    Key {
        name: "log.format",
        doc: "Form of a log line: \"text\" or \"json\".",
        form: Form::Text,
        set: |config, text| put(&mut config.log.format, parse_word(text, &FORMATS)),
        show: |config| show_word(config.log.format, &FORMATS),
    },
    Key {
        name: "client.server",
        doc: "The node that client commands talk to, as http://host:port.\n\
              Empty: http.address and http.port.",
        form: Form::Text,
        set: |config, text| put(&mut config.client.server, Ok(text.to_owned())),
        show: |config| config.client.server.clone(),
    },
    Key {
        name: "client.token",
        doc: "What client commands present; empty: http.token.",
        form: Form::Secret,
        set: |config, text| put(&mut config.client.token, Ok(Secret::new(text))),
        show: |config| config.client.token.expose().to_owned(),
    },
    Key {
        name: "client.timeout",
        doc: "How long one request of a client command may take.",
        form: Form::Text,
        set: |config, text| put(&mut config.client.timeout, parse_duration(text)),
        show: |config| show_duration(config.client.timeout),
    },
];

/// The key of this name.
pub fn find(name: &str) -> Option<&'static Key> {
    KEYS.iter().find(|key| key.name == name)
}

/// What `reference.toml` holds: each key with its meaning, its variable and its default.
pub fn reference() -> String {
    let config = Config::default();
    let mut text = String::from(
        "# Every setting with its default. Later wins: default, file, TIDINGS_* variable, flag.\n",
    );
    let mut table = "";
    for key in KEYS {
        let (of_table, name) = split(key.name);
        if of_table != table {
            text.push_str(&format!("\n[{of_table}]\n"));
            table = of_table;
        }
        for line in key.doc.lines() {
            text.push_str(&format!("# {line}\n"));
        }
        text.push_str(&format!("# {}\n{name} = {}\n", key.variable(), key.show(&config)));
    }
    text
}

const PACES: [(&str, Pace); 2] = [("normal", Pace::Normal), ("relaxed", Pace::Relaxed)];
const FORMATS: [(&str, LogFormat); 2] = [("text", LogFormat::Text), ("json", LogFormat::Json)];

fn split(name: &str) -> (&str, &str) {
    name.split_once('.').expect("each key is in a table")
}

fn put<T>(target: &mut T, value: Result<T, String>) -> Result<(), String> {
    *target = value?;
    Ok(())
}

fn parse_number<N: TryFrom<u64>>(text: &str) -> Result<N, String> {
    let number: u64 = text.parse().map_err(|_| format!("{text:?} is not a whole number"))?;
    N::try_from(number).map_err(|_| format!("{number} is too large"))
}

fn parse_address(text: &str) -> Result<IpAddr, String> {
    text.parse().map_err(|_| format!("{text:?} is not an IP address such as 127.0.0.1"))
}

fn parse_path(text: &str) -> Result<PathBuf, String> {
    if text.is_empty() {
        return Err("a path is needed".to_owned());
    }
    Ok(PathBuf::from(text))
}

fn parse_word<T: Copy>(text: &str, words: &[(&str, T)]) -> Result<T, String> {
    let found = words.iter().find(|(word, _)| *word == text);
    found.map(|(_, value)| *value).ok_or_else(|| {
        let words: Vec<_> = words.iter().map(|(word, _)| *word).collect();
        format!("{text:?} is not one of {}", words.join(", "))
    })
}

fn show_word<T: Copy + PartialEq>(value: T, words: &[(&str, T)]) -> String {
    let found = words.iter().find(|(_, of_word)| *of_word == value);
    found.expect("each value has its word").0.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whatever a key shows must read back as the same value, or a printed configuration lies. We
    /// set each key to what it shows of the defaults.
    #[test]
    fn each_key_reads_what_it_shows() {
        for key in KEYS {
            let mut config = Config::default();
            (key.set)(&mut config, &(key.show)(&Config::default())).unwrap();
            assert_eq!(config, Config::default(), "{}", key.name);
        }
    }

    /// A token in a terminal's scrollback is a token lost. We look for it in all that is printed.
    #[test]
    fn secrets_are_not_shown() {
        let mut config = Config::default();
        config.http.token = Secret::new("open-sesame-open-sesame");
        let shown: Vec<_> = KEYS.iter().map(|key| key.show(&config)).collect();
        assert!(!format!("{shown:?} {config:?}").contains("sesame"));
        assert!(shown.iter().any(|text| text == "(set)"));
    }

    /// `reference.toml` is what people read, so it must be what the program does. To renew it:
    /// `tidings config reference > cluster-config/reference.toml`.
    #[test]
    fn reference_file_lists_every_key_with_its_default() {
        assert_eq!(include_str!("../reference.toml"), reference());
    }
}
