//! Reads `model.safetensors.index.json`, which says which shard holds which tensor.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fmt;
use std::path::{Component, Path};

use serde::Deserialize;
use serde::de::{Deserializer, Error, MapAccess, Visitor};

use crate::ModelError;
use crate::header::{MAX_TENSORS, check_name};
use crate::input;

/// The longest in use, of 140 thousand tensors, have some 15 MB.
const MAX_FILE: u64 = 64 << 20;

/// Reads the map from the name of a tensor to the file name of its shard, which is a plain name inside the folder.
///
/// # Errors
/// A path that is not a regular file, a file that is too long or is not such an index, or a shard outside the folder.
pub fn read(path: &Path) -> Result<BTreeMap<String, String>, ModelError> {
    let bytes = input::read(path, MAX_FILE)?;
    parse(&bytes).map_err(|problem| ModelError::BadWeights {
        path: path.to_owned(),
        problem: input::brief(problem),
    })
}

pub(crate) fn parse(json: &[u8]) -> Result<BTreeMap<String, String>, String> {
    // A structure may also be written as a list, which no index is.
    if json.trim_ascii_start().first() != Some(&b'{') {
        return Err("not a JSON object, so not an index of shards".into());
    }
    let Index {
        weight_map: WeightMap(map),
    } = serde_json::from_slice(json)
        .map_err(|e| format!("not an index of shards: {e}; fetch it again"))?;
    if map.is_empty() {
        return Err("its `weight_map` is empty; fetch it again".into());
    }
    for (tensor, shard) in &map {
        let mut parts = Path::new(shard).components();
        let plain = matches!(parts.next(), Some(Component::Normal(name)) if name == shard.as_str());
        if !plain || check_name(shard).is_err() {
            return Err(format!(
                "shard `{}` of `{tensor}` is not a file name inside the folder",
                shard.escape_debug()
            ));
        }
    }
    Ok(map)
}

#[derive(Deserialize)]
struct Index {
    weight_map: WeightMap,
}

struct WeightMap(BTreeMap<String, String>);

impl<'de> Deserialize<'de> for WeightMap {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Read;
        impl<'de> Visitor<'de> for Read {
            type Value = WeightMap;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object from tensor to shard")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut list: A) -> Result<WeightMap, A::Error> {
                let mut map = BTreeMap::new();
                while let Some(tensor) = list.next_key::<String>()? {
                    check_name(&tensor).map_err(A::Error::custom)?;
                    if map.len() == MAX_TENSORS {
                        return Err(A::Error::custom(format!(
                            "more than {MAX_TENSORS} tensors, which no real checkpoint has"
                        )));
                    }
                    let shard = list
                        .next_value()
                        .map_err(|e| A::Error::custom(format!("shard of `{tensor}`: {e}")))?;
                    match map.entry(tensor) {
                        Entry::Vacant(free) => free.insert(shard),
                        Entry::Occupied(taken) => {
                            return Err(A::Error::custom(format!(
                                "tensor `{}` stands there twice",
                                taken.key()
                            )));
                        }
                    };
                }
                Ok(WeightMap(map))
            }
        }
        from.deserialize_map(Read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_index_is_read() {
        let json = br#"{"metadata":{"total_size":8},"weight_map":{"a":"1.safetensors","b":"2.safetensors"}}"#;
        let map = parse(json).unwrap();
        assert_eq!(map["b"], "2.safetensors");
        assert_eq!(map.len(), 2);
    }

    #[test]
    fn bad_indices_are_refused() {
        let shard = |s: &str| format!(r#"{{"weight_map":{{"a":"{s}"}}}}"#);
        let cases: Vec<(String, &str)> = vec![
            (String::new(), "not a JSON object"),
            ("[{}]".into(), "not a JSON object"),
            ("{".into(), "EOF"),
            ("{}".into(), "missing field `weight_map`"),
            (
                r#"{"weight_map":[]}"#.into(),
                "an object from tensor to shard",
            ),
            (r#"{"weight_map":{}}"#.into(), "is empty"),
            (
                r#"{"weight_map":{"a":7}}"#.into(),
                "shard of `a`: invalid type",
            ),
            (
                r#"{"weight_map":{"a":"x","a":"y"}}"#.into(),
                "`a` stands there twice",
            ),
            (
                r#"{"weight_map":{"a":"x"},"weight_map":{"b":"y"}}"#.into(),
                "duplicate field",
            ),
            (
                r#"{"weight_map":{"\u0007":"x"}}"#.into(),
                "no control characters",
            ),
            (shard(""), "not a file name inside the folder"),
            (shard("."), "not a file name inside the folder"),
            (shard(".."), "not a file name inside the folder"),
            (shard("/etc/passwd"), "not a file name inside the folder"),
            (
                shard("../other/model.safetensors"),
                "not a file name inside the folder",
            ),
            (
                shard("sub/model.safetensors"),
                "not a file name inside the folder",
            ),
            (shard("sub/"), "not a file name inside the folder"),
            (shard("./x"), "not a file name inside the folder"),
            (shard("x\\u0000"), "not a file name inside the folder"),
            (
                shard(&"x".repeat(1 << 16)),
                "not a file name inside the folder",
            ),
            (
                format!(r#"{{"metadata":{}"#, "[".repeat(1 << 20)),
                "not an index of shards",
            ),
        ];
        for (json, problem) in cases {
            let error = parse(json.as_bytes()).unwrap_err();
            assert!(error.contains(problem), "{error:.300}\nfor {json:.200}");
        }
    }
}
