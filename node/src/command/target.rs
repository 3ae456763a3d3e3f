//! Which tessera a command is about: an id, or the beginning of one.

use proto::{TesseraId, prefix::IdPrefix};

use crate::{api::TesseraPage, client::Client, failure::Failure, problem::Kind};

/// A tessera as it was typed.
#[derive(Debug, Clone)]
pub(crate) struct Target(IdPrefix<TesseraId>);

impl Target {
    /// Reads what was typed, for clap.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        text.parse().map(Self).map_err(|error: proto::ProtoError| error.to_string())
    }

    /// The whole id. Fails with [`Kind::NotFound`] when no tessera here begins like this, and with [`Kind::Usage`]
    /// when several do.
    pub(crate) async fn find(&self, client: &Client) -> Result<TesseraId, Failure> {
        if let Some(id) = self.0.exact() {
            return Ok(id);
        }
        let page: TesseraPage =
            client.get(&format!("/v1/tesseras?limit={NAMED_MAX}&prefix={}", self.0)).await?;
        let ids: Vec<TesseraId> = page.tesseras.iter().map(|tessera| tessera.id).collect();
        choose(&self.0, &ids)
    }
}

fn choose(prefix: &IdPrefix<TesseraId>, ids: &[TesseraId]) -> Result<TesseraId, Failure> {
    match ids {
        [] => Err(Failure::new(Kind::NotFound, format!("no tessera here begins with {prefix}"))),
        [id] => Ok(*id),
        several => {
            let several: Vec<String> = several.iter().map(|id| format!("\n  {id}")).collect();
            let detail =
                format!("several tesserae here begin with {prefix}: type more of it{}", several.concat());
            Err(Failure::new(Kind::Usage, detail))
        }
    }
}

/// How many an ambiguous beginning names.
const NAMED_MAX: u32 = 5;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn beginning_of_one_id_is_that_id_and_of_several_is_wrong_usage() {
        let prefix = "tess1q".parse().unwrap();
        let (one, two) = (TesseraId::from_bytes([1; 32]), TesseraId::from_bytes([2; 32]));
        assert_eq!(choose(&prefix, &[one]).unwrap(), one);
        let several = choose(&prefix, &[one, two]).unwrap_err().to_string();
        assert!(several.contains(&one.to_string()) && several.contains(&two.to_string()), "{several}");
        assert!(choose(&prefix, &[]).is_err());
    }

    #[test]
    fn something_else_than_a_tessera_is_refused() {
        assert!(Target::parse("node1qqq").is_err());
        assert!(Target::parse("tess1b").is_err());
    }
}
