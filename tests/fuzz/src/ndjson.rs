//! The body of a publish of one event a line.

use tidings_gateway::fuzz;

use super::http_event::stored;

/// Any bytes get an answer; it is all lines or none, and each line that is taken is stored whole.
pub fn run(bytes: &[u8]) {
    let mut n_events = 0;
    let taken = fuzz::read_lines(bytes, |event| {
        stored(event);
        n_events += 1;
    });
    match taken {
        Some(n_taken) => {
            let lines = bytes.split(|&byte| byte == b'\n');
            let full = lines.filter(|line| !line.trim_ascii().is_empty()).count();
            assert_eq!((n_taken, n_events), (full, full));
        }
        None => assert_eq!(n_events, 0, "all or nothing"),
    }
}
