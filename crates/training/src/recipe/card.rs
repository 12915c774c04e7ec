//! Writes the model card that belongs to a checkpoint, and the table of held-out perplexities.

use std::collections::BTreeSet;
use std::fmt::Write;

use interlingua_metrics::bootstrap::Estimate;

use super::{HeldOut, Record};

/// Writes the held-out perplexities as a Markdown table.
pub fn table(record: &Record) -> String {
    let mut out = String::from(
        "| Language | Text | Sentences | Tokens | Perplexity per token | Bits per character |\n\
         | --- | --- | ---: | ---: | ---: | ---: |\n",
    );
    for row in &record.held_out {
        let HeldOut {
            source,
            language,
            sentences,
            tokens,
            perplexity,
            bits_per_character,
            ..
        } = row;
        let _ = writeln!(
            out,
            "| {language} | {} | {sentences} | {tokens} | {} | {} |",
            source.as_deref().unwrap_or("all"),
            interval(perplexity, 1),
            interval(bits_per_character, 3)
        );
    }
    out
}

fn interval(estimate: &Estimate, digits: usize) -> String {
    match (estimate.ci_low, estimate.ci_high) {
        (Some(low), Some(high)) => {
            format!(
                "{:.digits$} [{low:.digits$}, {high:.digits$}]",
                estimate.value
            )
        }
        _ => format!("{:.digits$}", estimate.value),
    }
}

/// Writes the `README.md` of a checkpoint folder.
pub fn model_card(record: &Record) -> String {
    let spec = &record.settings;
    let (m, t) = (&spec.model, &spec.training);
    let mut out = String::from("---\nlanguage:\n");
    for language in spec.languages() {
        let _ = writeln!(out, "- {language}");
    }
    let _ = writeln!(
        out,
        "library_name: transformers\npipeline_tag: text-generation\n---\n\n# {}\n",
        spec.title
    );
    if !spec.description.is_empty() {
        let _ = writeln!(out, "{}\n", spec.description.trim());
    }
    let _ = writeln!(
        out,
        "Made by `{}` of Interlingua {}{}; all settings, hashes and the loss curve are in `training.json`.\n",
        record.command,
        record.version,
        record
            .commit
            .as_ref()
            .map_or_else(String::new, |c| format!(" (commit {c})"))
    );
    let _ = writeln!(
        out,
        "## Model\n\n\
         {:.2} million parameters in f32, Cohere architecture: {} blocks × {}, {} query heads, {} key and value heads, \
         MLP {}, LM head tied to the embedding, logit scale {}, at most {} positions. Byte-level BPE of {} entries, \
         trained on the training text. Every sequence starts with `<BOS_TOKEN>`; sentences end with `<EOS_TOKEN>`.\n",
        record.parameters as f64 / 1e6,
        m.layers,
        m.hidden_size,
        m.heads,
        m.kv_heads,
        m.intermediate_size,
        m.logit_scale,
        m.max_positions,
        record.vocabulary
    );
    out.push_str(
        "```python\n\
         from transformers import AutoModelForCausalLM, AutoTokenizer\n\n\
         tokenizer = AutoTokenizer.from_pretrained(FOLDER)\n\
         model = AutoModelForCausalLM.from_pretrained(FOLDER)\n\
         ids = tokenizer(tokenizer.bos_token + \"The\", return_tensors=\"pt\", return_token_type_ids=False)\n\
         print(tokenizer.decode(model.generate(**ids, max_new_tokens=20)[0]))\n\
         ```\n\n",
    );
    out.push_str(
        "## Text\n\n| Source | Language | Sentences | Tokens |\n| --- | --- | ---: | ---: |\n",
    );
    for size in &record.text {
        let _ = writeln!(
            out,
            "| {} | {} | {} | {} |",
            size.source, size.language, size.sentences, size.tokens
        );
    }
    out.push_str("\n| File | sha256 | Licence |\n| --- | --- | --- |\n");
    for file in &record.files {
        let _ = writeln!(
            out,
            "| {} | `{}` | {} |",
            file.file,
            file.sha256,
            file.licence.as_deref().unwrap_or("not stated")
        );
    }
    out.push('\n');
    let licences: BTreeSet<String> = record
        .files
        .iter()
        .filter_map(|f| {
            let licence = f.licence.as_ref()?;
            let set = f.data_set.as_deref().unwrap_or(&f.file);
            let note = &f.licence_note;
            Some(format!("{set}: {licence}. {note}").trim_end().to_owned())
        })
        .collect();
    for licence in licences {
        let _ = writeln!(out, "- {licence}");
    }
    if record.files.iter().any(|f| f.licence.is_none()) {
        out.push_str("- No manifest knows the licence of the files where none is stated.\n");
    }
    let left = &record.left_out;
    let _ = writeln!(
        out,
        "\nHeld out: rows drawn by a hash of their English sentence (seed {}). Left out of the training text: {} \
         sentences that are held out or stand beside a held-out sentence somewhere, so that neither a duplicate nor a \
         translation of one is trained on; {} duplicates; {} sentences longer than the model takes; {} unreadable rows.\n",
        spec.seed, left.near_held_out, left.duplicates, left.too_long, left.unreadable_rows
    );
    let _ = writeln!(
        out,
        "## Training\n\n\
         {} steps of about {} tokens, {:.2} million tokens in all ({} epochs of {:.2} million), AdamW (β {} and {}, \
         weight decay {}, gradient norm at most {}), peak learning rate {} after a warm-up of {:.0} % of the steps, \
         cosine decay to a tenth, language balance {}, seed {}. {:.1} hours on {}.\n",
        record.steps,
        t.batch_tokens,
        record.tokens as f64 / 1e6,
        t.epochs,
        record.epoch_tokens as f64 / 1e6,
        t.beta_1,
        t.beta_2,
        t.weight_decay,
        t.clip_norm,
        t.learning_rate,
        t.warmup * 100.0,
        spec.data.balance,
        spec.seed,
        record.seconds / 3600.0,
        record.device
    );
    let _ = writeln!(
        out,
        "## Held-out perplexity\n\n{}\n\
         Intervals are 95 % bootstrap intervals over sentences. Perplexity per token depends on the tokenizer, bits per \
         character do not. The end token is not scored.\n",
        table(record)
    );
    out.push_str(
        "## What it is for\n\n\
         Experiments that need a real, small, multilingual language model whose text and training are known to the \
         last byte: tests of debiasing and of representations across languages, on a CPU.\n\n\
         It knows short sentences of its sources and little else. It is no assistant, knows no facts to rely on, is \
         far worse on text of other kinds, and repeats the associations of its text; scores of bias benchmarks on it \
         mix stereotypes with word frequency.\n",
    );
    for caveat in &spec.caveats {
        let _ = writeln!(out, "\n- {caveat}");
    }
    out
}
