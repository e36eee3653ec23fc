//! Breaks lines at a terminal's width between words. Colours take no room.

/// The text with no line wider than `width`, which is at least 20; what is broken goes on further in. A word that is
/// wider by itself stays whole.
pub(super) fn wrap(text: &str, width: usize) -> String {
    let width = width.max(20);
    text.split('\n')
        .map(|line| wrap_line(line, width))
        .collect::<Vec<_>>()
        .join("\n")
}

fn wrap_line(line: &str, width: usize) -> String {
    if visible(line) <= width {
        return line.to_owned();
    }
    let indent = line.len() - line.trim_start_matches(' ').len() + 2;
    let (mut out, mut used, mut begun) = (String::new(), 0, false);
    for word in line.split_inclusive(' ') {
        let room = visible(word.trim_end_matches(' '));
        if begun && used + room > width {
            out.truncate(out.trim_end_matches(' ').len());
            out.push('\n');
            out.push_str(&" ".repeat(indent));
            (used, begun) = (indent, false);
        }
        out.push_str(word);
        used += visible(word);
        begun |= room > 0;
    }
    out.truncate(out.trim_end_matches(' ').len());
    out
}

/// How many columns a text takes; escape sequences of colours take none.
fn visible(text: &str) -> usize {
    let mut escaped = false;
    let count = |letter: &char| match (escaped, *letter) {
        (false, '\u{1b}') => {
            escaped = true;
            false
        }
        (true, end) => {
            escaped = end != 'm';
            false
        }
        _ => true,
    };
    text.chars().filter(count).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_line_is_wider_than_the_terminal() {
        let text =
            "shop/checkout  Holding step 2/6 at 10% (observed 9.97%), holds for 2m more\n  short";
        let told = wrap(text, 40);
        assert!(told.lines().all(|line| line.len() <= 40), "{told}");
        assert_eq!(told.lines().last(), Some("  short"));
        let joined: String = told.split_whitespace().collect();
        assert_eq!(
            joined,
            text.split_whitespace().collect::<String>(),
            "no word is lost"
        );
    }

    #[test]
    fn colours_take_no_room() {
        let painted = format!("\u{1b}[1m{}\u{1b}[0m", "a".repeat(30));
        assert_eq!(wrap(&painted, 30), painted);
    }

    #[test]
    fn a_word_that_is_too_wide_stays_whole() {
        assert_eq!(wrap(&"a".repeat(30), 20), "a".repeat(30));
        assert_eq!(
            wrap(&format!("see {}", "a".repeat(30)), 20),
            format!("see\n  {}", "a".repeat(30))
        );
    }
}
