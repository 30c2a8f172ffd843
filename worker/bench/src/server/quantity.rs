//! What was measured.

use serde::Serialize;

/// Something that was measured several times.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Quantity {
    /// The benchmark.
    pub(crate) id: &'static str,
    pub(crate) what: String,
    /// Who did it.
    pub(crate) engine: String,
    /// From the least to the most; or why there is nothing.
    pub(crate) samples: Result<Vec<f64>, String>,
    pub(crate) unit: &'static str,
    /// What else is to be known.
    pub(crate) remark: String,
}

impl Quantity {
    pub(crate) fn new(
        id: &'static str,
        what: impl Into<String>,
        engine: impl Into<String>,
        unit: &'static str,
        mut samples: Vec<f64>,
    ) -> Self {
        samples.sort_unstable_by(f64::total_cmp);
        let (what, engine) = (what.into(), engine.into());
        let samples = if samples.is_empty() { Err("nothing was measured".into()) } else { Ok(samples) };
        let quantity = Self { id, what, engine, samples, unit, remark: String::new() };
        eprintln!("  {quantity}");
        quantity
    }

    pub(crate) fn absent(id: &'static str, what: impl Into<String>, engine: impl Into<String>, why: String) -> Self {
        let quantity =
            Self { id, what: what.into(), engine: engine.into(), samples: Err(why), unit: "", remark: String::new() };
        eprintln!("  {quantity}");
        quantity
    }

    pub(crate) fn remark(self, remark: impl Into<String>) -> Self {
        Self { remark: remark.into(), ..self }
    }

    pub(crate) fn least(&self) -> Option<f64> {
        self.quantile(0.0)
    }

    pub(crate) fn median(&self) -> Option<f64> {
        self.quantile(0.5)
    }

    pub(crate) fn most(&self) -> Option<f64> {
        self.quantile(1.0)
    }

    /// The sample below which that part of all lies.
    pub(crate) fn quantile(&self, part: f64) -> Option<f64> {
        quantile(self.samples.as_ref().ok()?, part)
    }
}

/// The number below which that part of sorted numbers lies.
pub(super) fn quantile(sorted: &[f64], part: f64) -> Option<f64> {
    sorted.get((part * sorted.len().saturating_sub(1) as f64).round() as usize).copied()
}

impl std::fmt::Display for Quantity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}, {}: ", self.id, self.what, self.engine)?;
        match (&self.samples, self.least().zip(self.median()).zip(self.most())) {
            (Ok(_), Some(((least, median), most))) => {
                write!(f, "{median:.2} {} ({least:.2}–{most:.2})", self.unit)
            }
            (Err(why), _) => f.write_str(why),
            (Ok(_), None) => f.write_str("nothing"),
        }
    }
}
