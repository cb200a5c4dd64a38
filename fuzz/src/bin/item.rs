//! One object: its head, its tree, and its bytes that nobody touches.
#![no_main]

use libfuzzer_sys::fuzz_target;
use velero_core::{ItemTree, RawItem};

fuzz_target!(|data: &[u8]| {
    let tree = ItemTree::parse(data);
    let Ok(item) = RawItem::parse(data.to_vec().into()) else {
        return;
    };
    assert_eq!(item.json(), data);
    // The head is read without the rest; what it says is what the tree has.
    if let Ok(tree) = tree {
        assert_eq!(item.head().name, tree.name());
        let labels = tree.labels();
        assert!(item.head().labels.iter().all(|(key, value)| labels.get(key) == Some(value)));
    }
});
