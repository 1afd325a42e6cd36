//! An evaluation as an ordered map that serialises to JSON.

use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{MapAccess, Visitor},
    ser::SerializeMap,
};
use std::{borrow::Cow, fmt};

/// What stands behind one name of an evaluation. NaN is `null` in JSON.
#[derive(Debug, Clone, PartialEq)]
pub enum MetricValue {
    /// One number.
    Scalar(f64),
    /// Lower and upper end of an interval.
    Interval([f64; 2]),
    /// One number for each class, in the order of the classes.
    PerClass(Vec<(String, f64)>),
    /// One interval for each class, in the order of the classes.
    PerClassInterval(Vec<(String, [f64; 2])>),
}

/// Names and values in a fixed order: each metric, followed by its interval `<name>_ci`.
///
/// As JSON: `{"accuracy": 0.7, "accuracy_ci": [0.65, 0.74], "f1": {"happy": 0.6, ...}, ...}`.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Metrics {
    entries: Vec<(Cow<'static, str>, MetricValue)>,
}

impl Metrics {
    /// Appends an entry, or replaces the one of this name.
    pub fn set(&mut self, name: impl Into<Cow<'static, str>>, value: MetricValue) {
        let name = name.into();
        match self.entries.iter_mut().find(|(n, _)| *n == name) {
            Some((_, old)) => *old = value,
            None => self.entries.push((name, value)),
        }
    }

    /// The entry of this name.
    pub fn get(&self, name: &str) -> Option<&MetricValue> {
        self.iter()
            .find(|(n, _)| *n == name)
            .map(|(_, value)| value)
    }

    /// The number of this name; `None` if it is absent or not a single number.
    pub fn scalar(&self, name: &str) -> Option<f64> {
        match self.get(name)? {
            MetricValue::Scalar(value) => Some(*value),
            _ => None,
        }
    }

    /// The interval `<name>_ci` of a single number.
    pub fn interval(&self, name: &str) -> Option<[f64; 2]> {
        match self.get(&format!("{name}_ci"))? {
            MetricValue::Interval(interval) => Some(*interval),
            _ => None,
        }
    }

    /// The numbers by class of this name.
    pub fn per_class(&self, name: &str) -> Option<&[(String, f64)]> {
        match self.get(name)? {
            MetricValue::PerClass(values) => Some(values),
            _ => None,
        }
    }

    /// Names and values in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &MetricValue)> {
        self.entries
            .iter()
            .map(|(name, value)| (name.as_ref(), value))
    }

    /// Number of entries, intervals included.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is no entry.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

impl Serialize for MetricValue {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        // serde_json writes NaN and infinities as null
        match self {
            Self::Scalar(value) => value.serialize(serializer),
            Self::Interval(interval) => interval.serialize(serializer),
            Self::PerClass(values) => {
                serializer.collect_map(values.iter().map(|(class, value)| (class, value)))
            }
            Self::PerClassInterval(values) => {
                serializer.collect_map(values.iter().map(|(class, value)| (class, value)))
            }
        }
    }
}

impl Serialize for Metrics {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.len()))?;
        for (name, value) in self.iter() {
            map.serialize_entry(name, value)?;
        }
        map.end()
    }
}

/// The shapes of a value in JSON, where `null` is a number that does not exist.
#[derive(Deserialize)]
#[serde(untagged)]
enum Raw {
    Interval([Option<f64>; 2]),
    PerClassInterval(Ordered<[Option<f64>; 2]>),
    PerClass(Ordered<Option<f64>>),
    Scalar(Option<f64>),
}

/// A JSON object that keeps its order.
struct Ordered<T>(Vec<(String, T)>);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Ordered<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Entries<T>(std::marker::PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for Entries<T> {
            type Value = Ordered<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a map of metrics")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    entries.push(entry);
                }
                Ok(Ordered(entries))
            }
        }
        deserializer.deserialize_map(Entries(std::marker::PhantomData))
    }
}

fn number(value: Option<f64>) -> f64 {
    value.unwrap_or(f64::NAN)
}

impl<'de> Deserialize<'de> for MetricValue {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(match Raw::deserialize(deserializer)? {
            Raw::Scalar(value) => Self::Scalar(number(value)),
            Raw::Interval(ends) => Self::Interval(ends.map(number)),
            Raw::PerClass(values) => {
                Self::PerClass(values.0.into_iter().map(|(c, v)| (c, number(v))).collect())
            }
            Raw::PerClassInterval(values) => Self::PerClassInterval(
                values
                    .0
                    .into_iter()
                    .map(|(c, v)| (c, v.map(number)))
                    .collect(),
            ),
        })
    }
}

impl<'de> Deserialize<'de> for Metrics {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let entries = Ordered::<MetricValue>::deserialize(deserializer)?.0;
        Ok(Self {
            entries: entries
                .into_iter()
                .map(|(n, v)| (Cow::Owned(n), v))
                .collect(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_keeps_order_and_undefined_values() {
        let mut metrics = Metrics::default();
        metrics.set("pearson", MetricValue::Scalar(f64::NAN));
        metrics.set("accuracy", MetricValue::Scalar(0.5));
        metrics.set("accuracy_ci", MetricValue::Interval([0.25, 0.75]));
        metrics.set(
            "f1",
            MetricValue::PerClass(vec![("sad".into(), 0.5), ("glad".into(), 1.0)]),
        );
        metrics.set(
            "f1_ci",
            MetricValue::PerClassInterval(vec![("sad".into(), [0.0, 1.0])]),
        );
        let json = serde_json::to_string(&metrics).unwrap();
        assert_eq!(
            json,
            r#"{"pearson":null,"accuracy":0.5,"accuracy_ci":[0.25,0.75],"f1":{"sad":0.5,"glad":1.0},"f1_ci":{"sad":[0.0,1.0]}}"#
        );
        let back: Metrics = serde_json::from_str(&json).unwrap();
        assert!(back.scalar("pearson").unwrap().is_nan());
        assert_eq!(back.interval("accuracy"), Some([0.25, 0.75]));
        assert_eq!(back.per_class("f1"), metrics.per_class("f1"));
        assert_eq!(back.len(), 5);
    }
}
