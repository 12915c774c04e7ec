//! The files of a report: rows and items as JSON lines, CSV and Parquet, and the folder as a whole.

use std::io::Cursor;

use polars::prelude::*;

use super::*;

#[test]
fn rows_survive_json_lines() {
    let rows = small_run();
    let text = rows_jsonl(&rows).unwrap();
    let back: Vec<Row> = text
        .lines()
        .map(|l| serde_json::from_str(l).unwrap())
        .collect();
    assert_eq!(back, rows);
    let nan = rows_jsonl(&[row("mean_gap", f64::NAN)]).unwrap();
    assert!(nan.contains("\"value\":null"));
}

#[test]
fn rows_survive_csv() {
    let mut rows = small_run();
    rows[0].value = 0.1 + 0.2;
    rows[0].category = Some("a, \"b\"\nc".to_string());
    let frame = CsvReader::new(Cursor::new(rows_csv(&rows)))
        .finish()
        .unwrap();
    check_frame(&frame, &rows);
}

#[test]
fn no_words_of_a_csv_are_a_formula_and_numbers_stay_numbers() {
    let attacks = ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "=A1,\"B\"", "＝1+1"];
    let mut rows = small_run();
    rows.truncate(attacks.len());
    for (row, attack) in rows.iter_mut().zip(attacks) {
        row.value = -0.5;
        row.model = attack.to_string();
        row.category = Some(attack.to_string());
        row.edit.method = Some(attack.to_string());
    }
    let text = rows_csv(&rows);
    let frame = CsvReader::new(Cursor::new(&text)).finish().unwrap();
    for column in ["model", "category", "method"] {
        let column = frame.column(column).unwrap().str().unwrap();
        for (cell, attack) in column.iter().zip(attacks) {
            assert_eq!(cell, Some(format!("'{attack}").as_str()));
        }
    }
    let values = frame.column("value").unwrap().f64().unwrap();
    assert!(values.iter().all(|v| v == Some(-0.5)), "{text}");
    let signs = ['=', '+', '@', '＝', '＋', '－', '＠'];
    for table in tables(&small_info(), &rows) {
        for line in table.csv().lines() {
            for cell in line.split(',') {
                let words = cell.trim_start_matches('"');
                let number = words.trim_end_matches('"').parse::<f64>().is_ok();
                assert!(
                    number || !(words.starts_with(signs) || words.starts_with('-')),
                    "{}: {line}",
                    table.id
                );
            }
        }
    }
}

#[test]
fn rows_survive_parquet() {
    let mut rows = small_run();
    rows[0].value = 0.1 + 0.2;
    rows[0].edit.rank = Some(4);
    let bytes = rows_parquet(&rows).unwrap();
    let frame = ParquetReader::new(Cursor::new(&bytes)).finish().unwrap();
    check_frame(&frame, &rows);
    assert_eq!(frame.column("rank").unwrap().u64().unwrap().get(0), Some(4));
    assert_eq!(bytes, rows_parquet(&rows).unwrap());
    let none = ParquetReader::new(Cursor::new(rows_parquet(&[]).unwrap()))
        .finish()
        .unwrap();
    assert_eq!(none.shape(), (0, super::super::rows::COLUMNS.len()));
}

fn check_frame(frame: &DataFrame, rows: &[Row]) {
    assert_eq!(frame.height(), rows.len());
    let names: Vec<&str> = frame
        .get_column_names()
        .iter()
        .map(|n| n.as_str())
        .collect();
    assert_eq!(names, super::super::rows::COLUMNS);
    let number = |name: &str, i: usize| frame.column(name).unwrap().f64().unwrap().get(i);
    let word = |name: &str, i: usize| {
        frame
            .column(name)
            .unwrap()
            .str()
            .unwrap()
            .get(i)
            .map(String::from)
    };
    for (i, row) in rows.iter().enumerate() {
        assert_eq!(number("value", i), Some(row.value));
        assert_eq!(number("ci_low", i), row.ci_low);
        assert_eq!(number("p_holm", i), row.p_holm);
        assert_eq!(number("p_bh", i), row.p_bh);
        assert_eq!(number("planted", i), row.planted);
        assert_eq!(word("metric", i).as_deref(), Some(row.metric.as_str()));
        assert_eq!(word("category", i), row.category);
        assert_eq!(word("fit_language", i), row.fit_language);
        assert_eq!(word("space", i), row.space);
        assert_eq!(word("versus", i), row.versus);
        assert_eq!(word("scope", i), row.scope);
        assert_eq!(word("kind", i), row.kind);
    }
}

#[test]
fn columns_are_the_fields_of_a_row() {
    let json = serde_json::to_value(Row::default()).unwrap();
    let mut fields: Vec<&str> = json
        .as_object()
        .unwrap()
        .keys()
        .map(String::as_str)
        .collect();
    let mut columns = super::super::rows::COLUMNS.to_vec();
    fields.sort_unstable();
    columns.sort_unstable();
    assert_eq!(columns, fields);
}

#[test]
fn items_survive_parquet() {
    let items = vec![
        Item {
            pair: "p1".to_string(),
            score_more: -1.5,
            tokens_more: 7,
            edit: EditAxes {
                rank: Some(2),
                ..EditAxes::default()
            },
            ..Item::default()
        },
        Item {
            pair: "p2".to_string(),
            planted: Some(0.5),
            ..Item::default()
        },
    ];
    let bytes = items_parquet(&items).unwrap();
    let frame = ParquetReader::new(Cursor::new(bytes)).finish().unwrap();
    assert_eq!(frame.shape(), (2, 22));
    assert_eq!(
        frame.column("tokens_more").unwrap().u32().unwrap().get(0),
        Some(7)
    );
    assert_eq!(
        frame.column("planted").unwrap().f64().unwrap().get(1),
        Some(0.5)
    );
    assert_eq!(frame.column("rank").unwrap().u64().unwrap().get(1), None);
}

#[test]
fn the_folder_is_complete_and_the_same_every_time() {
    let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let mut info = small_info();
    for folder in &folders {
        write_all(folder.path(), &info, &small_run(), &[Item::default()], &[]).unwrap();
        info.timings[0].seconds += 1.0;
    }
    let list = |dir: &Path| {
        let mut out = Vec::new();
        for sub in ["", "tables", "plots"] {
            for entry in fs::read_dir(dir.join(sub)).unwrap() {
                let path = entry.unwrap().path();
                if path.is_file() {
                    out.push(path.strip_prefix(dir).unwrap().to_path_buf());
                }
            }
        }
        out.sort();
        out
    };
    let files = list(folders[0].path());
    assert_eq!(files, list(folders[1].path()));
    assert!(files.iter().all(|f| f.extension().unwrap() != "partial"));
    for name in [
        "rows.jsonl",
        "rows.csv",
        "rows.parquet",
        "items.parquet",
        "report.md",
        "report.html",
        "headline.md",
        "pairs.csv",
        "tables/summary.md",
        "tables/gaps.csv",
    ] {
        assert!(files.contains(&PathBuf::from(name)), "{name} is missing");
    }
    for file in files
        .iter()
        .filter(|f| !f.starts_with("report.html") && !f.starts_with("report.md"))
    {
        let [a, b] = [0, 1].map(|i| fs::read(folders[i].path().join(file)).unwrap());
        assert_eq!(a, b, "{} depends on the timings", file.display());
    }
}

#[test]
fn a_folder_that_cannot_be_made_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("taken");
    fs::write(&file, "a file").unwrap();
    let error = write_all(&file, &small_info(), &[], &[], &[]).unwrap_err();
    assert!(error.to_string().contains("taken"), "{error}");
}

#[test]
fn csv_tables_have_as_many_fields_as_heads() {
    for table in tables(&small_info(), &small_run()) {
        let text = table.csv();
        let mut lines = text.lines();
        let heads = lines.next().unwrap().split(',').count();
        // No name of the small run has a comma, so a field never needs quotes.
        for line in lines.filter(|l| !l.contains('"')) {
            assert_eq!(line.split(',').count(), heads, "{}: {line}", table.id);
        }
    }
}
