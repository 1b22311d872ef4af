//! A memory is admitted exactly when `serde_json` reads it as a map (A2), and keeps its meaning and
//! its spelling (A3).

#![no_main]

use libfuzzer_sys::fuzz_target;
use profile_store::Memory;
use serde_json::{Map, Value};

fuzz_target!(|text: &str| {
    let oracle = serde_json::from_str::<Map<String, Value>>(text);
    match (Memory::from_json(text), oracle) {
        (Ok(memory), Ok(map)) => {
            assert_eq!(memory.parse::<Map<String, Value>>().unwrap(), map);
            // The text is kept but for white space, and a second reading keeps all of it.
            let significant = |text: &str| text.replace([' ', '\t', '\r', '\n'], "");
            assert_eq!(significant(memory.as_str()), significant(text));
            assert_eq!(Memory::from_json(memory.as_str()).unwrap(), memory);
            assert!(memory.depth() >= 1 && memory.depth() <= 127);
        }
        (Err(_), Err(_)) => {}
        (ours, oracle) => panic!("{ours:?}, and serde_json says {:?}", oracle.map(|_| ())),
    }
});
