//! The guide for authors shows code that there is.

use std::path::Path;

/// Without its comments and its indentation.
fn bare(line: &str) -> String {
    let code = line.split("  //").next().unwrap_or_default().trim();
    if code.starts_with("// ") { String::new() } else { code.split_whitespace().collect::<Vec<_>>().join(" ") }
}

#[test]
fn every_line_that_the_guide_shows_of_this_crate_stands_in_it() {
    let crate_dir = Path::new(env!("CARGO_MANIFEST_DIR"));
    let guide = std::fs::read_to_string(crate_dir.join("../../docs/write-a-connector.md")).unwrap();
    let mut shown = 0;
    // `<!-- of src/units.rs -->` stands before a block that was taken from there.
    for block in guide.split("<!-- of ").skip(1) {
        let (file, block) = block.split_once(" -->\n").unwrap();
        let code = block.strip_prefix("```rust,ignore\n").and_then(|block| block.split_once("\n```")).unwrap().0;
        let source = std::fs::read_to_string(crate_dir.join(file)).unwrap();
        let source: Vec<String> = source.lines().map(bare).collect();
        for line in code.lines().map(bare).filter(|line| !line.is_empty()) {
            assert!(source.contains(&line), "the guide shows a line that is not in {file}: {line}");
            shown += 1;
        }
    }
    assert!(shown > 40, "the guide shows {shown} lines of this crate");
}

#[test]
fn each_connector_is_less_than_40_lines_beside_its_imports() {
    for file in ["units", "journal", "board"] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("src/{file}.rs"));
        let source = std::fs::read_to_string(path).unwrap();
        // Behind the imports, without comments, attributes and lines that only close something.
        let code = source.lines().map(str::trim).skip_while(|line| !line.starts_with("use crate::")).skip(1);
        let counted = code.filter(|line| {
            let beside = line.starts_with("//") || line.starts_with("#[");
            !beside && !line.chars().all(|c| "}),;".contains(c))
        });
        let counted = counted.count();
        assert!(counted < 40, "{file}.rs: {counted} lines");
    }
}
