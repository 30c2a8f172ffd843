//! Faults of a request, collected so that all are told at once.

use sd_protocol::{ErrorDetail, Limits};

/// Every fault of one request.
pub(super) struct Faults(pub(super) Vec<ErrorDetail>);

impl Faults {
    pub(super) fn add(&mut self, field: &str, message: String) {
        self.0.push(ErrorDetail { field: field.into(), message });
    }

    pub(super) fn names(&self, field: &str) -> bool {
        self.0.iter().any(|fault| fault.field == field)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// `value` if it lies in the range, else a fault and the nearest end.
    pub(super) fn range<T: PartialOrd + std::fmt::Display>(&mut self, field: &str, value: T, low: T, high: T) -> T {
        if value >= low && value <= high {
            return value;
        }
        self.add(field, format!("is {value}, allowed is {low} to {high}"));
        if value > high { high } else { low }
    }

    pub(super) fn side(&mut self, field: &str, px: u32, limits: &Limits) -> u32 {
        let multiple = limits.side_px_multiple;
        if !px.is_multiple_of(multiple) {
            let near = (px / multiple * multiple).clamp(limits.side_px_min, limits.side_px_max);
            self.add(field, format!("is {px}, but sides are multiples of {multiple}; {near} would do"));
            return near;
        }
        self.range(field, px, limits.side_px_min, limits.side_px_max)
    }
}

/// What to say of a name that is not in a table.
pub(super) fn unknown<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> String {
    format!("no {name:?} here; there is {}", known.collect::<Vec<_>>().join(", "))
}
