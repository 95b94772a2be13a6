//! Two texts with numbers in them, compared number by number.

/// Allowed difference of two numbers: `ABSOLUTE + RELATIVE * |committed|`. Machines differ in the
/// last digits of `exp`, and some numbers are stored as `f32`.
const ABSOLUTE: f64 = 1e-9;
const RELATIVE: f64 = 1e-6;

/// The first difference in words: numbers within the tolerance and all other words equal count as
/// the same; punctuation and spaces are left out.
pub(crate) fn difference(committed: &str, fresh: &str) -> Option<String> {
    let (mut ours, mut theirs) = (words(committed), words(fresh));
    let mut index = 0;
    loop {
        index += 1;
        match (ours.next(), theirs.next()) {
            (None, None) => return None,
            (Some(a), Some(b)) if is_same(a, b) => {}
            (a, b) => {
                let shown = |word: Option<&str>| word.unwrap_or("the end").to_owned();
                return Some(format!(
                    "word {index} is {}, the script gives {}",
                    shown(a),
                    shown(b)
                ));
            }
        }
    }
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    let is_part = |c: char| c.is_alphanumeric() || matches!(c, '+' | '-' | '.' | '_');
    text.split(move |c: char| !is_part(c)).filter(|word| !word.is_empty())
}

fn is_same(committed: &str, fresh: &str) -> bool {
    if committed == fresh {
        return true;
    }
    match (committed.parse::<f64>(), fresh.parse::<f64>()) {
        (Ok(a), Ok(b)) => (a - b).abs() <= ABSOLUTE + RELATIVE * a.abs(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn last_digits_spaces_and_notation_do_not_matter() {
        let committed = r#"{"loss": 0.123456789012, "gradient": [1e-3, -2.0]}"#;
        let fresh = r#"{"loss":0.123456789013,"gradient":[0.001,-2]}"#;
        assert_eq!(difference(committed, fresh), None);
    }

    #[test]
    fn another_number_is_found() {
        let found = difference("loss 1.0 2.0", "loss 1.0 2.0001").unwrap();
        assert_eq!(found, "word 3 is 2.0, the script gives 2.0001");
    }

    #[test]
    fn a_missing_number_and_another_name_are_found() {
        let found = difference("[1, 2]", "[1]").unwrap();
        assert_eq!(found, "word 2 is 2, the script gives the end");
        assert!(difference("loss 1", "gradient 1").is_some());
        assert!(difference("1", "NaN").is_some());
    }
}
