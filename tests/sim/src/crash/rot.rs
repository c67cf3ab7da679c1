//! Bits flip in whatever file of a node that ended: it must refuse to start, or lose nothing.
//!
//! All that was acknowledged lies before a mark then, so no flip may look like a torn write of it.

use tidings_log::MemoryDisk;
use tidings_log::disk::Disk;
use tidings_types::seam::{Rng, SplitMix};

use crate::crash::life::{Ending, Life, Stop};
use crate::crash::summary::{Args, Summary, guarded};

/// Bits that are flipped in each file, one at a time.
const FLIPS_PER_FILE: u64 = 64;
const FOLDERS: [&str; 3] = ["", "log", "ckpt/0"];

/// Flips bits, one at a time, each on a copy of the disk at the end of a whole life.
pub(crate) fn rot(
    name: &str,
    make: fn() -> Box<dyn Life>,
    ending: Ending,
    args: Args,
    summary: &mut Summary,
) {
    let (mut rng, before) = (SplitMix::new(args.seed), summary.n_flips);
    for folder in FOLDERS {
        let (disk, _) = whole_life(make, ending);
        for file in disk.list(folder).unwrap_or_default() {
            let path = if folder.is_empty() { file } else { format!("{folder}/{file}") };
            let n_bits = 8 * disk.bytes(&path).map_or(0, |bytes| bytes.len() as u64);
            for _ in 0..(FLIPS_PER_FILE / args.every).max(1) {
                let bit = rng.below(n_bits.max(1));
                summary.n_flips += 1;
                let (disk, mut life) = whole_life(make, ending);
                disk.flip(&path, bit);
                let result = guarded(|| match life.again(&disk) {
                    Ok(()) | Err(Stop::Refused(_)) => Ok(()),
                    Err(stop) => Err(stop.into_text()),
                });
                summary.note(format!("{name}, {ending:?}, bit {bit} of {path} flipped"), result);
                if args.stops && !summary.is_clean() {
                    return;
                }
            }
        }
    }
    let n_flips = summary.n_flips - before;
    summary.lines.push(format!("{name}, {ending:?}: {n_flips} bits flipped, one at a time"));
}

fn whole_life(make: fn() -> Box<dyn Life>, ending: Ending) -> (MemoryDisk, Box<dyn Life>) {
    let (disk, mut life) = (MemoryDisk::new(), make());
    // If it does not succeed undisturbed, that is told elsewhere.
    drop(life.live(&disk, ending));
    disk.end_process();
    (disk, life)
}
