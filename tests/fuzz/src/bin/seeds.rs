//! Writes the seeds: real inputs of each target. `cargo +nightly run --bin seeds`, in this folder.

use std::fs;
use std::path::Path;

use tidings_fuzz::node::{Node, directory, sections};
use tidings_fuzz::split::joined;
use tidings_log::{Disk, MemoryDisk};
use tidings_replica::Input;
use tidings_types::id::NodeId;
use tidings_types::layout::command::Command;
use tidings_types::layout::entry::{EntryBuilder, SectionKind};
use tidings_types::offset::LogIndex;

fn main() {
    http();
    entries();
    messages();
    files();
}

fn put(target: &str, name: &str, bytes: &[u8]) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("seeds").join(target);
    fs::create_dir_all(&folder).expect("the folder can be made");
    fs::write(folder.join(name), bytes).expect("the file can be written");
}

fn http() {
    let whole = r#"{"id":"e-1","type":"user.signed_up.v1","key":"u\"1","time":"2026-01-02T03:04:05.678Z","headers":[["trace","abc"],["b",""]],"data":{"x":[1,2.50],"ü":null},"offset":7}"#;
    let small = r#"{"type":"a.v1","data":1}"#;
    let bad = r#"{"type":"a.v1","key":"a\u0007","time":"1969-12-31T23:59:59Z","data":{}}"#;
    for (name, event) in [("whole", whole), ("small", small), ("bad", bad)] {
        put("http_event", name, event.as_bytes());
        put("ndjson", name, format!("{event}\n").as_bytes());
    }
    put("ndjson", "lines", format!("{small}\r\n\n{whole}\n {small}\n").as_bytes());
    put("ndjson", "one_bad", format!("{small}\n{bad}\n{{\"type\":\n").as_bytes());
    for name in ["users", "orders.eu", "x-1_2.y", "a..b", "../x", "Users"] {
        put("names", &name.replace(['/', '.'], "_"), name.as_bytes());
    }
}

fn entries() {
    let mut all = Vec::new();
    let mut together = EntryBuilder::with_capacity(256);
    for (number, (kind, body)) in sections().iter().enumerate() {
        let mut builder = EntryBuilder::with_capacity(256);
        builder.push(*kind, body);
        together.push(*kind, body);
        let data = builder.finish(NodeId::new(1), 5 + number as u64);
        put("entry", &format!("{number}"), &data);
        if *kind == SectionKind::Command {
            put("command", &format!("{number}"), body);
        }
        all.push(data);
    }
    let together = together.finish(NodeId::new(1), 5);
    put("entry", "together", &together);
    put("apply", "together", &joined(&[&together]));
    let all: Vec<&[u8]> = all.iter().map(|data| data.as_ref()).collect();
    put("apply", "one_by_one", &joined(&all));
    put("apply", "begin", &joined(&all[..4]));
    let purge = Command::Purge { index: LogIndex::new(3) };
    put("command", "purge", &purge.encode());
    let mut frames = Vec::new();
    for (number, data) in all.iter().enumerate() {
        let index = u16::try_from(number + 1).expect("it is small").to_le_bytes();
        // An entry of term 1, marked as far as it may be.
        let mut part = vec![0, 0, 0, 1, index[0], index[1], 0, 0, 0, 0];
        part.extend(*data);
        frames.push(part);
    }
    let vote = [&[0, 1, 0, 1, 14, 0, 0, 0, 0, 0][..], &[1, 0, 0, 0, 0, 0, 0, 0]].concat();
    frames.push(vote);
    frames.push(vec![0, 4, 0, 1, 14, 0, 255, 15, 0, 0]);
    let frames: Vec<&[u8]> = frames.iter().map(Vec::as_slice).collect();
    put("frame", "entries", &joined(&frames));
    put("frame", "torn", &joined(&[frames[0], b"\x01garbage", frames[1]]));
    put("frame", "purge", &joined(&[frames[0], &[0, 2, 0, 1, 1, 0, 0, 0, 0, 0]]));
    let reset = [&[0, 3, 0, 1, 1, 0, 0, 0, 0, 0][..], &[7; 8]].concat();
    put("frame", "reset", &joined(&[frames[0], &reset]));
}

/// Three replicas elect one and commit; what they sent is what a peer sends.
fn messages() {
    let open = |node| Node::open(&MemoryDisk::new(), node, &[1, 2, 3]).expect("it is fresh");
    let mut nodes = [open(1), open(2), open(3)];
    let mut heard = [const { Vec::new() }; 3];
    let mut n_kinds = [0; 256];
    let mut left = sections();
    for round in 0..400 {
        for from in 0..3 {
            nodes[from].tick();
            for (to, bytes) in std::mem::take(&mut nodes[from].sent) {
                let (to, from) = (to.get() as usize - 1, from as u32 + 1);
                let kind = usize::from(bytes[1]);
                n_kinds[kind] += 1;
                if n_kinds[kind] <= 3 {
                    put("wire", &format!("{kind}_{}", n_kinds[kind]), &bytes);
                }
                // Heartbeats are many and alike.
                let is_new = !matches!(bytes[1], 7 | 8) || n_kinds[kind] % 16 == 0;
                if is_new && heard[to].len() < 48 && bytes.len() < 1_024 {
                    let tick = if heard[to].len() % 4 == 0 { 4 } else { 0 };
                    let from_last = u8::from((to + 2) % 3 + 1 == from as usize);
                    heard[to].push([&[tick | from_last][..], &bytes].concat());
                }
                nodes[to].step(Input::Message { from: NodeId::new(from), bytes });
            }
        }
        if round % 8 == 0 && !left.is_empty() {
            let (kind, body) = left.remove(0);
            nodes.iter_mut().for_each(|node| node.propose(kind, body.clone()));
        }
    }
    for (node, heard) in heard.iter().enumerate() {
        let parts: Vec<&[u8]> = heard.iter().map(Vec::as_slice).collect();
        put("replica", &format!("begin_{node}"), &joined(&parts[..parts.len().min(8)]));
        put("replica", &format!("all_{node}"), &joined(&parts));
    }
    println!("sent by kind: {:?}", &n_kinds[..20]);
}

fn files() {
    let disk = directory();
    let names = disk.list("ckpt/0").expect("a disk without faults");
    println!("{names:?} {:?}", disk.list("log"));
    for name in names {
        let bytes = disk.bytes(&format!("ckpt/0/{name}")).expect("it is there");
        put("checkpoint", &name, &[&[0][..], &bytes].concat());
        let state = &bytes[64..];
        let length = u64::from_le_bytes(bytes[40..48].try_into().expect("eight bytes"));
        let (_, state) = state.split_at(length as usize);
        let length = u64::from_le_bytes(bytes[48..56].try_into().expect("eight bytes"));
        put("command", "state", &state[..length as usize]);
    }
    let index = disk.bytes(tidings_fuzz::index::FILE).expect("a closed segment has one");
    put("index", "whole", &[&[0][..], &index].concat());
    put("index", "rotten", &[&[1][..], &index].concat());
}
