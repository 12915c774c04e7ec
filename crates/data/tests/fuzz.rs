//! No loader panics, whatever the bytes.

mod common;

use common::*;
use interlingua_data::{
    AttributeOptions, BiasOptions, Format, OnBadRow, ParallelOptions, load_attributes, load_bias,
    load_parallel,
};
use proptest::prelude::*;

/// Pieces that steer random input into the formats.
const PIECES: &[&[u8]] = &[
    b"en\tfr\tde\n",
    b"en,fr\n",
    b"talk_id\ten\tde\n",
    b"id,sent_more,sent_less,stereo_antistereo,bias_type\r\n",
    b"\"",
    b"\"\"",
    b"\t",
    b",",
    b"\n",
    b"\r\n",
    b"stereo",
    b"en_more\ten_less\tlabel\tbias_type\tid\n",
    b"<tmx>",
    b"<tu><tuv xml:lang=\"en\"><seg>",
    b"</seg>",
    b"</tuv></tu>",
    b"&amp;",
    b"&#x110000;",
    b"&",
    b"<mteval><doc docid=\"1\">",
    b"<seg id=\"1\">",
    b"</doc>",
    b"<![CDATA[",
    b"<!--",
    b"{\"translation\":",
    b"{\"en\":\"a\",\"fr\":\"b\"}",
    b"}",
    b"[",
    b"{\"gender\":[[\"a\",\"b\"]]}",
    b"PK\x03\x04",
    b"PAR1",
    b"\x1f\x8b\x08",
    b"\xef\xbb\xbf",
    b"\x8e",
    b"\xc3\xa9",
    b"a",
    b"\0",
];

fn bytes() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        4 => prop::sample::select(PIECES).prop_map(<[u8]>::to_vec),
        1 => prop::collection::vec(any::<u8>(), 0..12),
    ];
    prop::collection::vec(piece, 0..14).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn every_loader(bytes in bytes()) {
        let folder = Folder::new();
        let names = ["crows_pairs_anonymized_nl_s0.csv", "I.t.en-de.de.xml", "I.t.en-de.en.xml", "crows_eng.csv", "words_de.json", "n.deu", "n.eng", "x.bin"];
        for name in names {
            folder.write(name, &bytes);
        }
        folder.write("deu-eng.zip", zip(&[("deu.txt", &bytes)]));
        folder.write("x.gz", gzip(&bytes));
        for name in names.iter().chain(&["deu-eng.zip", "x.gz"]) {
            let path = folder.path().join(name);
            let _ = interlingua_data::describe(&path);
            for policy in [OnBadRow::Error, OnBadRow::Skip] {
                let _ = load_attributes(&path, &AttributeOptions::new(policy));
                for format in Format::PARALLEL.iter().copied().map(Some).chain([None]) {
                    let _ = load_parallel(&path, &ParallelOptions { format, ..ParallelOptions::new(&[], policy) });
                }
                for format in Format::BIAS.iter().copied().map(Some).chain([None]) {
                    let _ = load_bias(&path, &BiasOptions { format, ..BiasOptions::new(&[], policy) });
                }
            }
        }
    }

    /// A real Parquet file with bytes changed.
    #[test]
    fn damaged_parquet(changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6)) {
        let folder = Folder::new();
        let source = folder.write("x.tsv", "en\tfr\na\tb\nc\td\n");
        let (corpus, _) = parallel(&source, &[], OnBadRow::Error).unwrap();
        let file = folder.path().join("x.parquet");
        interlingua_data::load::write_parquet(&file, &corpus).unwrap();
        let mut bytes = std::fs::read(&file).unwrap();
        for (at, value) in changes {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        std::fs::write(&file, bytes).unwrap();
        let _ = parallel(&file, &[], OnBadRow::Skip);
    }
}
