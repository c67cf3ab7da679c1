//! Data goes to standard output in the form that was asked for; talk goes to standard error.

use std::io::{self, Write};

use clap::ValueEnum;
use comfy_table::Table;
use serde::Serialize;

use crate::failure::Failure;

/// The form of what goes to standard output. It is never guessed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people.
    #[default]
    Table,
    /// One JSON value on one line.
    Json,
    /// One JSON value a line.
    Jsonl,
    /// Nothing.
    None,
}

/// Where a command's words go.
#[derive(Clone, Debug)]
pub(crate) struct Output {
    format: Format,
    is_quiet: bool,
    /// Flags that a suggested command needs, or it would ask another node than this one did.
    node_flags: Vec<(&'static str, String)>,
}

impl Output {
    pub(crate) const fn new(format: Format, is_quiet: bool) -> Self {
        Self { format, is_quiet, node_flags: Vec::new() }
    }

    /// Lets the commands that are suggested carry this flag, once.
    #[must_use]
    pub(crate) fn with_node_flag(mut self, name: &'static str, value: &str) -> Self {
        self.node_flags.retain(|(earlier, _)| *earlier != name);
        self.node_flags.push((name, word(value)));
        self
    }

    /// Whether a person reads along: then there are progress bars and hints.
    pub(crate) fn is_for_people(&self) -> bool {
        self.format == Format::Table && !self.is_quiet
    }

    /// Gives a list.
    pub(crate) fn list<T: Serialize>(
        &self,
        items: &[T],
        header: &[&str],
        cells: impl Fn(&T) -> Vec<String>,
    ) -> Result<(), Failure> {
        match self.format {
            Format::None => Ok(()),
            Format::Json => line(&json(items)),
            Format::Jsonl => items.iter().try_for_each(|item| line(&json(item))),
            Format::Table => line(&table(header, items.iter().map(cells))),
        }
    }

    /// Gives one thing; `text` shows it to people.
    pub(crate) fn one<T: Serialize>(
        &self,
        item: &T,
        text: impl FnOnce(&T) -> String,
    ) -> Result<(), Failure> {
        match self.format {
            Format::None => Ok(()),
            Format::Json | Format::Jsonl => line(&json(item)),
            Format::Table => line(&text(item)),
        }
    }

    /// Gives one of many things as a line of JSON, whatever form was asked for.
    pub(crate) fn json_line<T: Serialize>(&self, item: &T) -> Result<(), Failure> {
        if self.format == Format::None { Ok(()) } else { line(&json(item)) }
    }

    /// Gives text that has no other form.
    pub(crate) fn text(&self, text: &str) -> Result<(), Failure> {
        if self.format == Format::None { Ok(()) } else { line(text.trim_end()) }
    }

    /// Tells a person what happened, where to look, what to type next.
    pub(crate) fn say(&self, talk: &str) {
        if self.is_for_people() {
            // A closed standard error takes nothing from the result.
            let _ = writeln!(io::stderr().lock(), "{talk}");
        }
    }

    /// Suggests commands that talk to the node.
    pub(crate) fn next(&self, commands: &[&str]) {
        let commands: Vec<_> = commands.iter().map(|command| self.with_flags(command)).collect();
        self.say(&format!("next:  {}", commands.join("     ")));
    }

    /// Suggests commands that talk to no node.
    pub(crate) fn next_here(&self, commands: &[&str]) {
        self.say(&format!("next:  {}", commands.join("     ")));
    }

    fn with_flags(&self, command: &str) -> String {
        let flags = self.node_flags.iter().map(|(name, value)| format!(" {name} {value}"));
        command.to_owned() + &flags.collect::<String>()
    }
}

/// Rows under their header, without lines: easy to read, and to cut with other tools.
pub(crate) fn table(header: &[&str], rows: impl Iterator<Item = Vec<String>>) -> String {
    let mut table = Table::new();
    table.load_style(comfy_table::presets::NOTHING).set_header(header.iter().copied());
    table.add_rows(rows);
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    let lines: Vec<_> = table.lines().map(|line| line.trim_end().to_owned()).collect();
    lines.join("\n")
}

/// Thousands apart, for people.
pub(crate) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() * 4 / 3);
    for (idx, digit) in digits.chars().enumerate() {
        if idx > 0 && (digits.len() - idx).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// So many of a thing whose plural has an s.
pub(crate) fn counted(number: u64, thing: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{} {thing}{plural}", count(number))
}

/// One word of a command line, quoted where a shell would take it apart.
pub(crate) fn word(text: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~/:@%+=,".contains(&byte);
    // A ~ that comes first is a shell's word for somebody's home.
    if !text.is_empty() && !text.starts_with('~') && text.bytes().all(is_plain) {
        return text.to_owned();
    }
    format!("'{}'", text.replace('\'', r"'\''"))
}

fn json<T: Serialize + ?Sized>(item: &T) -> String {
    serde_json::to_string(item).expect("our own shapes have string keys only")
}

fn line(text: &str) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    writeln!(stdout, "{text}")?;
    Ok(stdout.flush()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_can_be_cut_with_other_tools() {
        let rows = [["users", "7"], ["orders.eu", "12"]].map(|row| row.map(str::to_owned).to_vec());
        let table = table(&["TOPIC", "EVENTS"], rows.into_iter());
        assert_eq!(table, "TOPIC      EVENTS\nusers      7\norders.eu  12");
    }

    /// Each flag may be given once only, and the command that runs a node has the last word.
    #[test]
    fn suggested_commands_reach_the_same_node() {
        let output = Output::new(Format::Table, false);
        assert_eq!(output.with_flags("tidings status"), "tidings status");
        let output = output
            .with_node_flag("--server", "http://x:1")
            .with_node_flag("--config", "my file")
            .with_node_flag("--server", "http://x:2");
        let command = output.with_flags("tidings status");
        assert_eq!(command, "tidings status --config 'my file' --server http://x:2");
    }

    #[test]
    fn one_thing_is_not_many() {
        assert_eq!(
            [0, 1, 2_000].map(|n| counted(n, "event")),
            ["0 events", "1 event", "2,000 events"]
        );
    }

    /// What we suggest is pasted into a shell, which must take each word as we meant it.
    #[test]
    fn words_survive_a_shell() {
        for plain in ["http://127.0.0.1:7270", ".tidings/demo", "a@3"] {
            assert_eq!(word(plain), plain);
        }
        assert_eq!(
            ["", "a b", "~x", "$x;y", "it's"].map(word),
            ["''", "'a b'", "'~x'", "'$x;y'", r"'it'\''s'"]
        );
    }

    #[test]
    fn counts_have_their_thousands_apart() {
        assert_eq!([0, 999, 1_000, 1_234_567].map(count), ["0", "999", "1,000", "1,234,567"]);
    }
}
