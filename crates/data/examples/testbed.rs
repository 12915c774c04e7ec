//! Prints parallel rows and minimal pairs of the testbed.
//!
//! `cargo run --example testbed`

use interlingua_data::testbed::{Split, Testbed, TestbedConfig, TestbedError};

fn main() -> Result<(), TestbedError> {
    let testbed = Testbed::new(TestbedConfig::default())?;

    println!("Ten parallel rows");
    let rows = testbed.parallel(10, Split::All, 0)?;
    for (i, id) in rows.ids.iter().enumerate() {
        println!("\n{id}");
        for (language, column) in rows.languages.iter().zip(&rows.columns) {
            println!("  {language}  {}", column[i]);
        }
    }

    println!("\nFive minimal pairs per category, with exact gaps");
    for category in Testbed::categories() {
        for pair in testbed.minimal_pairs(category, 5, Split::Eval, 0)? {
            println!(
                "\n{} {:?} {}: s = {}, gap = {:.4} nats",
                pair.id, pair.direction, pair.attribute, pair.strength, pair.gap
            );
            for (((language, more), (_, less)), log_prob) in
                pair.more.iter().zip(&pair.less).zip(&pair.log_prob_more)
            {
                println!("  {language}  {log_prob:.3}  {more}\n              {less}");
            }
        }
    }

    println!("\nEntropy per sentence, the least loss a language model can reach");
    for &language in testbed.languages() {
        println!("  {language}  {:.4} nats", testbed.entropy(language));
    }
    Ok(())
}
