//! Prints what a data file holds: `cargo run --example describe -- FILE [FILE…]`; without a file, a small one it makes.

use std::error::Error;
use std::path::PathBuf;

fn main() -> Result<(), Box<dyn Error>> {
    let mut files: Vec<PathBuf> = std::env::args_os().skip(1).map(PathBuf::from).collect();
    if files.is_empty() {
        let file = std::env::temp_dir().join("interlingua-example.tsv");
        std::fs::write(
            &file,
            "en\tfr\nGood morning.\tBonjour.\nThank you.\t\nTom!\tTom!\n",
        )?;
        files.push(file);
    }
    for file in files {
        println!("{}", interlingua_data::describe(&file)?);
    }
    Ok(())
}
