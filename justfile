# `just check` says whether a change may land and edits nothing; `just fix` edits.

check:
    cargo fmt --all --check
    cargo clippy --workspace --all-targets --locked -- -D warnings
    cargo test --workspace --locked
    cargo test --test tidy --locked
    RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --locked
    cargo deny check bans licenses sources advisories

fix:
    cargo clippy --workspace --all-targets --fix --allow-dirty --allow-staged
    cargo fmt --all

# Every execution of what threads share; prints how many there were of each model.
loom:
    CARGO_TARGET_DIR=target/loom RUSTFLAGS="--cfg tidings_loom" cargo test -p tidings-types --release --lib --locked sync -- --nocapture

# The release binary on a bad disk, under SIGKILLs, and 1,000 simulated worlds.
proof:
    cargo build --release --bin tidings
    tests/accept/proof.sh target/release/tidings

# Each fuzz target for so many seconds; needs nightly and cargo-fuzz.
fuzz seconds="600" *targets="":
    tests/fuzz/run.sh {{seconds}} {{targets}}
