//! `tojson` as transformers has it: `json.dumps(value, ensure_ascii=False)`, which neither escapes `<` nor sorts keys.

use minijinja::value::{Kwargs, ValueKind};
use minijinja::{Error, ErrorKind, Value};

/// Deeper values are refused; JSON parsers stop at about this depth too.
const MAX_DEPTH: usize = 100;

/// The filter.
pub(super) fn to_json(value: &Value, indent: Option<Value>, options: Kwargs) -> Result<Value, Error> {
    let indent = match indent {
        Some(indent) => Some(indent),
        None => options.get::<Option<Value>>("indent")?,
    };
    let indent = indent.and_then(|indent| indent.as_usize()).map(|indent| indent.min(16));
    let separators = options.get::<Option<Vec<String>>>("separators")?;
    let _ = options.get::<Option<bool>>("ensure_ascii")?;
    let _ = options.get::<Option<bool>>("sort_keys")?;
    options.assert_all_used()?;
    let (item, key) = match separators.as_deref() {
        Some([item, key]) => (item.clone(), key.clone()),
        // Python leaves out the space before a line break.
        _ if indent.is_some() => (",".to_owned(), ": ".to_owned()),
        _ => (", ".to_owned(), ": ".to_owned()),
    };
    let mut writer = Writer { out: String::new(), indent, item, key };
    writer.value(value, 0)?;
    Ok(Value::from(writer.out))
}

struct Writer {
    out: String,
    indent: Option<usize>,
    item: String,
    key: String,
}

impl Writer {
    fn value(&mut self, value: &Value, depth: usize) -> Result<(), Error> {
        if depth > MAX_DEPTH {
            return Err(Error::new(ErrorKind::BadSerialization, "the value is nested too deeply"));
        }
        match value.kind() {
            ValueKind::None => self.out.push_str("null"),
            ValueKind::Bool => self.out.push_str(if value.is_true() { "true" } else { "false" }),
            ValueKind::Number => self.out.push_str(&value.to_string()),
            ValueKind::String => self.text(value.as_str().unwrap_or_default()),
            ValueKind::Seq | ValueKind::Iterable => self.sequence(value, depth)?,
            ValueKind::Map => self.map(value, depth)?,
            other => return Err(Error::new(ErrorKind::BadSerialization, format!("{other} is not JSON"))),
        }
        Ok(())
    }

    fn sequence(&mut self, value: &Value, depth: usize) -> Result<(), Error> {
        self.out.push('[');
        let mut first = true;
        for item in value.try_iter()? {
            self.between(first, depth + 1);
            first = false;
            self.value(&item, depth + 1)?;
        }
        self.close(first, depth, ']');
        Ok(())
    }

    fn map(&mut self, value: &Value, depth: usize) -> Result<(), Error> {
        self.out.push('{');
        let mut first = true;
        for key in value.try_iter()? {
            self.between(first, depth + 1);
            first = false;
            self.text(key.as_str().map_or_else(|| key.to_string(), str::to_owned).as_str());
            let colon = self.key.clone();
            self.out.push_str(&colon);
            self.value(&value.get_item(&key)?, depth + 1)?;
        }
        self.close(first, depth, '}');
        Ok(())
    }

    fn between(&mut self, first: bool, depth: usize) {
        if !first {
            let item = self.item.clone();
            self.out.push_str(&item);
        }
        self.line(depth);
    }

    fn close(&mut self, empty: bool, depth: usize, bracket: char) {
        if !empty {
            self.line(depth);
        }
        self.out.push(bracket);
    }

    fn line(&mut self, depth: usize) {
        if let Some(indent) = self.indent {
            self.out.push('\n');
            self.out.extend(std::iter::repeat_n(' ', indent.saturating_mul(depth)));
        }
    }

    fn text(&mut self, text: &str) {
        self.out.push('"');
        for letter in text.chars() {
            match letter {
                '"' => self.out.push_str("\\\""),
                '\\' => self.out.push_str("\\\\"),
                '\n' => self.out.push_str("\\n"),
                '\r' => self.out.push_str("\\r"),
                '\t' => self.out.push_str("\\t"),
                '\u{8}' => self.out.push_str("\\b"),
                '\u{c}' => self.out.push_str("\\f"),
                control if control < ' ' => self.out.push_str(&format!("\\u{:04x}", u32::from(control))),
                other => self.out.push(other),
            }
        }
        self.out.push('"');
    }
}
