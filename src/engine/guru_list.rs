//! The gurus of one call, as an engine finds them.

use crate::model::error::{Error, Result};
use crate::model::name::GuruSlug;

/// The gurus of one call, ascending.
///
/// No cursor lies after a stored name that is no slug. So such a name is passed over, and is the error of the page that would
/// be the last. A reader of one guru at a time meets every sound one before it (S12).
pub(crate) struct GuruList {
    limit: usize,
    gurus: Vec<GuruSlug>,
    /// The first name that is no slug, and how many there are.
    strays: Option<(String, usize)>,
}

impl GuruList {
    pub fn new(limit: usize) -> Self {
        Self { limit, gurus: Vec::new(), strays: None }
    }

    /// Whether it takes no more. If it is not when the engine has no further gurus, the names up to the cursor are to be
    /// [looked at](Self::look_at).
    pub fn is_full(&self) -> bool {
        self.gurus.len() >= self.limit
    }

    /// Takes the next name, if its record is sound.
    pub fn push(&mut self, name: &[u8], verify: impl FnOnce(&GuruSlug) -> Result<()>) -> Result<()> {
        if let Some(guru) = self.look_at(name) {
            verify(&guru)?;
            self.gurus.push(guru);
        }
        Ok(())
    }

    /// The slug that a name is, if it is one.
    pub fn look_at(&mut self, name: &[u8]) -> Option<GuruSlug> {
        let guru = std::str::from_utf8(name).ok().and_then(|name| GuruSlug::new(name).ok());
        if guru.is_none() {
            let first = || (String::from_utf8_lossy(name).into_owned(), 0);
            self.strays.get_or_insert_with(first).1 += 1;
        }
        guru
    }

    /// The gurus.
    ///
    /// # Errors
    /// [`Corrupt`](crate::ErrorKind::Corrupt) if there are fewer than the limit, and names that are no slugs.
    pub fn finish(self) -> Result<Vec<GuruSlug>> {
        match self.strays {
            Some((first, count)) if self.gurus.len() < self.limit => {
                let others = match count - 1 {
                    0 => String::new(),
                    others => format!(", and so are those of {others} more"),
                };
                Err(Error::corrupt_guru(&first, &format!("its slug is not valid{others}")))
            }
            _ => Ok(self.gurus),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(limit: usize, names: &[&[u8]]) -> Result<Vec<String>> {
        let mut list = GuruList::new(limit);
        for name in names {
            if list.is_full() {
                break;
            }
            list.push(name, |_| Ok(()))?;
        }
        Ok(list.finish()?.into_iter().map(|guru| guru.to_string()).collect())
    }

    #[test]
    fn a_name_that_is_no_slug_comes_after_all_others() {
        let names: [&[u8]; 4] = [b"a", b"b{", b"c\xff", b"d"];
        for limit in 0..=2 {
            assert_eq!(list(limit, &names).unwrap(), ["a", "d"][..limit]);
        }
        let error = list(3, &names).unwrap_err();
        assert_eq!((error.guru(), error.external_user_id()), (Some("b{"), None));
        assert!(error.to_string().ends_with("its slug is not valid, and so are those of 1 more"), "{error}");
        let error = list(9, &names[2..]).unwrap_err();
        assert!(
            error.guru().unwrap().starts_with('c') && error.to_string().ends_with("not valid"),
            "{error}"
        );
        assert!(list(9, &[]).unwrap().is_empty());
    }
}
