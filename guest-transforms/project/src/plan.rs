//! Config and input columns → what becomes of each column.

use std::collections::BTreeSet;

use wasmill_guest::columns::find;
use wasmill_guest::{DataType, Field, TransformContract};

use crate::Config;
use crate::cast::Cast;

/// What the config asks for, given the columns that there are.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) contract: TransformContract,
    /// for each column of `contract.needs`
    pub(crate) casts: Vec<Cast>,
}

impl Plan {
    /// # Errors
    ///
    /// When the config names a column that is not there, contradicts itself, makes two columns of one
    /// name, or wants a cast that there is not.
    pub(crate) fn new(input: &[Field], config: &Config) -> Result<Self, String> {
        let stays = staying(input, config)?;
        let mut plan = Self {
            contract: TransformContract::default(),
            casts: Vec::new(),
        };
        let mut names = BTreeSet::new();
        for field in input
            .iter()
            .filter(|field| stays.contains(field.name.as_str()))
        {
            let name = config.rename.get(&field.name).unwrap_or(&field.name);
            if !names.insert(name) {
                return Err(format!("two columns would have the name `{name}`"));
            }
            let cast = cast(field, config)?;
            if *name != field.name || cast.is_some() {
                let ty = cast.map_or(field.ty, |(ty, _)| ty);
                plan.contract.needs.push(field.name.clone());
                plan.contract.returns.push(Field {
                    name: name.clone(),
                    ty,
                    nullable: field.nullable,
                });
                let same = Cast::between(field.ty, field.ty, false);
                let cast = cast.map(|(_, cast)| cast).or(same);
                plan.casts.push(cast.expect("each type casts to itself"));
            }
        }
        if names.is_empty() {
            return Err("no column would be left".to_owned());
        }
        // A name that is returned takes the place of the column that had it.
        let gone = input.iter().filter(|field| !names.contains(&field.name));
        plan.contract.drops = gone.map(|field| field.name.clone()).collect();
        Ok(plan)
    }
}

/// The input columns that stay, under their names in the input.
fn staying<'a>(input: &'a [Field], config: &Config) -> Result<BTreeSet<&'a str>, String> {
    let named = |key: &str, name: &str| {
        find(input, name)
            .map(|field| field.name.as_str())
            .map_err(|error| format!("`{key}`: {error}"))
    };
    let mut stays: BTreeSet<_> = input.iter().map(|field| field.name.as_str()).collect();
    if let Some(keep) = &config.keep {
        if !config.drop.is_empty() {
            return Err("`keep` and `drop` exclude each other: give one of them".to_owned());
        }
        stays = keep
            .iter()
            .map(|name| named("keep", name))
            .collect::<Result<_, _>>()?;
    }
    for name in &config.drop {
        stays.remove(named("drop", name)?);
    }
    let rename = config.rename.keys().map(|name| ("rename", name));
    let cast = config.cast.keys().map(|name| ("cast", name));
    for (key, name) in rename.chain(cast) {
        if !stays.contains(named(key, name)?) {
            return Err(format!("`{key}`: column `{name}` is not kept"));
        }
    }
    for name in &config.round {
        if !config.cast.contains_key(name) {
            return Err(format!("`round`: column `{name}` has no cast"));
        }
    }
    Ok(stays)
}

fn cast(field: &Field, config: &Config) -> Result<Option<(DataType, Cast)>, String> {
    let Some(ty) = config.cast.get(&field.name) else {
        return Ok(None);
    };
    let to: DataType = ty
        .parse()
        .map_err(|error| format!("`cast`: `{}`: {error}", field.name))?;
    let round = config.round.contains(&field.name);
    match Cast::between(field.ty, to, round) {
        Some(cast) => Ok(Some((to, cast))),
        None => Err(format!(
            "`cast`: column `{}` is {}, which cannot become {to}",
            field.name, field.ty
        )),
    }
}
