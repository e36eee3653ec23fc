//! One header field as it came, borrowed from the request's bytes. Identity sources, rules and forwarding fields
//! are read from a slice of these.

/// A header field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Field<'a> {
    /// Its name as it was sent; compared without regard to case.
    pub name: &'a [u8],
    /// Its value without surrounding white space; any bytes.
    pub value: &'a [u8],
}

impl Field<'_> {
    /// Whether this is the field with that name.
    #[inline]
    pub fn is(&self, name: &str) -> bool {
        // Mostly it is spelled as it was written down, which is seen many bytes at a time.
        self.name == name.as_bytes() || self.name.eq_ignore_ascii_case(name.as_bytes())
    }
}
