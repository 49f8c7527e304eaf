//! libFuzzer around one target of the table, named by AQUIFER_FUZZ_TARGET; `tests/fuzz/run` starts it. With AQUIFER_FUZZ_LIST
//! it prints the targets' names, with AQUIFER_FUZZ_SEEDS=DIR it writes the target's seeds there and ends.
//!
//! One thread, one input at a time: so the most that an input takes of the allocator can be measured, and is.

#![no_main]

use std::sync::OnceLock;

use fuzz::{TARGETS, Target, find};
use libfuzzer_sys::fuzz_target;
use peak_alloc::PeakAlloc;

#[global_allocator]
static ALLOCATOR: PeakAlloc = PeakAlloc;

static TARGET: OnceLock<&'static Target> = OnceLock::new();

fuzz_target!(
    init: {
        prepare();
    },
    |data: &[u8]| {
        run(data);
    }
);

fn run(data: &[u8]) {
    let target = TARGET.get().expect("prepared");
    let before = ALLOCATOR.current_usage();
    ALLOCATOR.reset_peak_usage();
    (target.run)(data);
    let taken = ALLOCATOR.peak_usage().saturating_sub(before);
    let most = (target.memory_max)(data.len());
    assert!(taken <= most, "{taken} bytes of memory for an input of {}, at most {most}", data.len());
}

fn prepare() {
    if std::env::var_os("AQUIFER_FUZZ_LIST").is_some() {
        for target in TARGETS {
            println!("{}", target.name);
        }
        std::process::exit(0);
    }
    let name = std::env::var("AQUIFER_FUZZ_TARGET").unwrap_or_default();
    let Some(target) = find(&name) else {
        eprintln!("AQUIFER_FUZZ_TARGET={name:?} is no target");
        std::process::exit(2);
    };
    let seeds = (target.seeds)();
    if let Some(place) = std::env::var_os("AQUIFER_FUZZ_SEEDS") {
        for (n, seed) in seeds.iter().enumerate() {
            std::fs::write(std::path::Path::new(&place).join(format!("seed-{n:04}")), seed)
                .expect("seeds are written");
        }
        std::process::exit(0);
    }
    // Tables that are made once are nobody's input.
    for seed in &seeds {
        (target.run)(seed);
    }
    TARGET.set(target).expect("prepared once");
}
