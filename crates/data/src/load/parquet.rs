//! Reads and writes Parquet tables with polars.

use std::fs::File;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use interlingua_files::Partial;
use polars::prelude::*;

use super::pages::{self, Chunk};
use super::{Builder, ParallelOptions, choose};
use crate::error::{DataError, Report};
use crate::input::{io_error, open_file};
use crate::iso::column_language;
use crate::language::Language;
use crate::types::ParallelCorpus;

/// Rows decoded at a time, which bounds the memory beside the corpus itself.
const SLICE: usize = 1 << 16;

pub(crate) fn load(
    path: &Path,
    options: &ParallelOptions,
) -> Result<(ParallelCorpus, Report), DataError> {
    let (names, rows) = schema(path)?;
    check_pages(path)?;
    let mut found: Vec<(Language, &String)> = Vec::new();
    for name in names.iter().filter(|n| *n != "id") {
        if let Some(language) = column_language(name, &options.languages)
            && !found.iter().any(|(l, _)| *l == language)
        {
            found.push((language, name));
        }
    }
    let available: Vec<Language> = found.iter().map(|(l, _)| *l).collect();
    if available.is_empty() {
        return Err(DataError::MissingColumn {
            file: path.to_owned(),
            column: "en".to_owned(),
            found: names,
        });
    }
    let languages = choose(path, &options.languages, &available)?;
    let mut columns: Vec<String> = Vec::new();
    for language in &languages {
        columns.extend(
            found
                .iter()
                .filter(|(l, _)| l == language)
                .map(|(_, n)| n.to_string()),
        );
    }
    let has_id = names.iter().any(|n| n == "id");
    let mut builder = Builder::new(languages, options.on_bad_row, options.limit);
    let mut start = 0;
    while start < rows && !builder.full() {
        let mut wanted = columns.clone();
        wanted.extend(has_id.then(|| "id".to_owned()));
        let frame = read(path, |reader| {
            reader
                .with_columns(Some(wanted))
                .with_slice(Some((start, SLICE)))
                .finish()
        })?;
        if frame.height() == 0 {
            break;
        }
        // A damaged file may have columns of other lengths than it says.
        let even = |column: &Column| column.len() == frame.height();
        if !frame.columns().iter().all(even) {
            return Err(damaged(path));
        }
        let mut cells = Vec::new();
        for name in &columns {
            let column = frame.column(name).map_err(|e| parquet_error(path, e))?;
            let text = column.str().map_err(|_| DataError::Parquet {
                file: path.to_owned(),
                message: format!("column `{name}` holds {}, not text", column.dtype()),
            })?;
            cells.push(text.clone());
        }
        let ids = match has_id {
            true => frame.column("id").ok().and_then(|c| c.str().ok().cloned()),
            false => None,
        };
        for i in 0..frame.height() {
            if builder.full() {
                break;
            }
            // A null is an empty cell.
            let row: Vec<&str> = cells.iter().map(|c| c.get(i).unwrap_or("")).collect();
            let number = (start + i + 1) as u64;
            let id = ids
                .as_ref()
                .and_then(|c| c.get(i))
                .map_or_else(|| number.to_string(), str::to_owned);
            if row
                .iter()
                .any(|c| c.len() as u64 > options.limits.cell_bytes)
            {
                let limit = options.limits.cell_bytes;
                return Err(DataError::TooLarge {
                    file: path.to_owned(),
                    line: Some(number),
                    what: "a cell",
                    limit,
                });
            }
            builder.push(path, number, id, &row)?;
        }
        start += frame.height();
    }
    Ok(builder.finish())
}

/// Returns the corpus as a polars table with the column `id` and one column per language.
///
/// # Errors
/// Columns of different lengths.
pub fn to_frame(corpus: &ParallelCorpus) -> PolarsResult<DataFrame> {
    let mut columns = vec![Column::new("id".into(), &corpus.ids)];
    for (language, cells) in corpus.languages.iter().zip(&corpus.columns) {
        columns.push(Column::new(language.code().into(), cells));
    }
    DataFrame::new(corpus.len(), columns)
}

/// Writes a corpus as Parquet.
///
/// # Errors
/// The file can't be written.
pub fn write_parquet(path: &Path, corpus: &ParallelCorpus) -> Result<(), DataError> {
    let mut frame = to_frame(corpus).map_err(|e| parquet_error(path, e))?;
    let partial = Partial::file(path).map_err(|e| io_error(path, e))?;
    ParquetWriter::new(partial.handle())
        .finish(&mut frame)
        .map_err(|e| parquet_error(path, e))?;
    partial.finish().map_err(|e| io_error(path, e))
}

/// Returns the names of the columns and the number of rows.
pub(crate) fn schema(path: &Path) -> Result<(Vec<String>, usize), DataError> {
    read(path, |mut reader| {
        let names = reader
            .schema()?
            .iter_names()
            .map(|n| n.to_string())
            .collect();
        Ok((names, reader.num_rows()?))
    })
}

/// Holds the headers of all pages against the footer, which the decoder does not.
fn check_pages(path: &Path) -> Result<(), DataError> {
    let chunks = read(path, |mut reader| {
        let metadata = reader.get_metadata()?;
        let groups = metadata.row_groups.iter();
        let columns = groups.flat_map(|group| group.parquet_columns());
        let chunks = columns.map(|column| Chunk {
            bytes: column.byte_range(),
            values: column.num_values(),
        });
        Ok(chunks.collect::<Vec<_>>())
    })?;
    let mut file = open_file(path)?;
    chunks.iter().try_for_each(|chunk| {
        pages::check(&mut file, chunk).map_err(|problem| DataError::Parquet {
            file: path.to_owned(),
            message: format!(
                "{problem}: the file is damaged, or has pages of more than {} values or {} bytes",
                pages::MOST_VALUES,
                pages::MOST_BYTES
            ),
        })
    })
}

/// Runs a read and turns a panic into an error: the decoder asserts what a well-formed file guarantees, and a damaged
/// file must not end the program.
fn read<T>(
    path: &Path,
    job: impl FnOnce(ParquetReader<File>) -> PolarsResult<T>,
) -> Result<T, DataError> {
    let file = open_file(path)?;
    match catch_unwind(AssertUnwindSafe(|| job(ParquetReader::new(file)))) {
        Ok(result) => result.map_err(|e| parquet_error(path, e)),
        Err(_) => Err(damaged(path)),
    }
}

fn damaged(path: &Path) -> DataError {
    DataError::Parquet {
        file: path.to_owned(),
        message: "the file is damaged".to_owned(),
    }
}

fn parquet_error(path: &Path, error: PolarsError) -> DataError {
    DataError::Parquet {
        file: path.to_owned(),
        message: error.to_string(),
    }
}
