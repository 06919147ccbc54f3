//! The tree of what was written, with the columns that there are → a `Condition`.
//!
//! Types are settled here, once: literals take the type of what they stand beside, scales are made
//! equal, and a comparison of a column with a literal becomes a range of stored integers, which is
//! exact and needs no arithmetic.

use wasmill_guest::columns::find;
use wasmill_guest::{DataType, Field};

use crate::condition::{Condition, Text};
use crate::like::Pattern;
use crate::literal::{self, Exact};
use crate::number::{Double, Tree};
use crate::operand::{Operand, rescale};
use crate::place::complain;
use crate::syntax::{Comparator, Node, Says};
use crate::truth::Truth;

/// A condition, and the columns that its indices stand for.
#[derive(Debug)]
pub(crate) struct Checked {
    pub(crate) condition: Condition,
    pub(crate) needs: Vec<String>,
}

/// Checks the condition that `text` was read into.
///
/// # Errors
///
/// Name the place, and what is wrong with the column or the type there.
pub(crate) fn check(text: &str, node: &Node, input: &[Field]) -> Result<Checked, String> {
    let mut checker = Checker {
        text,
        input,
        needs: Vec::new(),
    };
    let condition = checker.condition(node)?;
    Ok(Checked {
        condition,
        needs: checker.needs,
    })
}

struct Checker<'a> {
    text: &'a str,
    input: &'a [Field],
    needs: Vec<String>,
}

impl Checker<'_> {
    fn at<T>(&self, node: &Node, result: Result<T, String>) -> Result<T, String> {
        result.map_err(|what| complain(self.text, node.at, what))
    }

    fn condition(&mut self, node: &Node) -> Result<Condition, String> {
        match &node.says {
            Says::Compare(comparator, left, right) => {
                let (of_left, of_right) = (self.operand(left)?, self.operand(right)?);
                self.at(node, compare(of_left, *comparator, of_right))
            }
            Says::Between(parts) => {
                let [value, least, greatest] = &**parts;
                let (value, least, greatest) = (
                    self.operand(value)?,
                    self.operand(least)?,
                    self.operand(greatest)?,
                );
                let from = compare(value.clone(), Comparator::GreaterOrEqual, least);
                let to = compare(value, Comparator::LessOrEqual, greatest);
                Ok(Condition::All(vec![
                    self.at(node, from)?,
                    self.at(node, to)?,
                ]))
            }
            Says::Among(value, list) => self.among(value, list),
            Says::Like {
                value,
                pattern,
                escape,
            } => {
                let Operand::Text(Text::Column(column)) = self.operand(value)? else {
                    return self.at(node, Err("`like` is for columns of text".to_owned()));
                };
                let pattern = self.at(node, Pattern::new(pattern, *escape))?;
                Ok(Condition::Like(column, pattern))
            }
            Says::IsNull(value) => self.is_null(value),
            Says::Is(expected, inner) => {
                let inner = Box::new(self.condition(inner)?);
                Ok(Condition::Is(inner, (*expected).into()))
            }
            Says::Not(inner) => Ok(Condition::Not(Box::new(self.condition(inner)?))),
            Says::All(parts) => Ok(Condition::All(self.conditions(parts)?)),
            Says::Any(parts) => Ok(Condition::Any(self.conditions(parts)?)),
            Says::Truth(truth) => Ok(Condition::Constant((*truth).into())),
            _ => match self.operand(node)? {
                Operand::Condition(condition) => Ok(condition),
                other => {
                    let kind = other.kind();
                    self.at(
                        node,
                        Err(format!("this is {kind}, and a condition is due here")),
                    )
                }
            },
        }
    }

    fn conditions(&mut self, parts: &[Node]) -> Result<Vec<Condition>, String> {
        parts.iter().map(|part| self.condition(part)).collect()
    }

    fn operand(&mut self, node: &Node) -> Result<Operand, String> {
        match &node.says {
            Says::Column(name) => self.column(node, name),
            Says::Number(digits) => self.at(node, Exact::parse(digits)).map(Operand::number),
            Says::Text(text) => Ok(Operand::Text(Text::Literal(text.clone().into_bytes()))),
            Says::Null => Ok(Operand::Null),
            Says::Negative(inner) => {
                let inner = self.operand(inner)?;
                self.at(node, inner.negative())
            }
            Says::Arithmetic(operator, left, right) => {
                let (left, right) = (self.operand(left)?, self.operand(right)?);
                self.at(node, Operand::arithmetic(*operator, left, right))
            }
            _ => self.condition(node).map(Operand::Condition),
        }
    }

    fn column(&mut self, node: &Node, name: &str) -> Result<Operand, String> {
        let field = find(self.input, name)
            .map_err(|error| format!("{error} (a text stands in quotes: '{name}')"));
        let ty = self.at(node, field)?.ty;
        let index = self.need(name);
        Ok(match ty {
            DataType::Boolean => Operand::Condition(Condition::Flag(index)),
            DataType::Int64 => Operand::Exact(Tree::Leaf(index), 0),
            DataType::Decimal(scale) => Operand::Exact(Tree::Leaf(index), scale.into()),
            DataType::Float64 => Operand::Double(Tree::Leaf(Double::Column(index))),
            DataType::Utf8 => Operand::Text(Text::Column(index)),
            DataType::Binary | DataType::Timestamp | DataType::Date => Operand::Column(index, ty),
        })
    }

    /// The column's place in the batch.
    fn need(&mut self, name: &str) -> usize {
        let known = self.needs.iter().position(|need| need == name);
        known.unwrap_or_else(|| {
            self.needs.push(name.to_owned());
            self.needs.len() - 1
        })
    }

    fn is_null(&mut self, value: &Node) -> Result<Condition, String> {
        if let Says::Column(name) = &value.says {
            self.column(value, name)?;
            return Ok(Condition::Missing(self.need(name)));
        }
        match self.operand(value)? {
            Operand::Condition(inner) => Ok(Condition::Is(Box::new(inner), Truth::Unknown)),
            _ => self.at(
                value,
                Err("`is null` is for columns and conditions".to_owned()),
            ),
        }
    }

    fn among(&mut self, value: &Node, list: &[Node]) -> Result<Condition, String> {
        let of_value = self.operand(value)?;
        let mut equals = Vec::new();
        for entry in list {
            let of_entry = self.operand(entry)?;
            let equal = compare(of_value.clone(), Comparator::Equal, of_entry);
            equals.push(self.at(entry, equal)?);
        }
        Ok(as_set(&equals).unwrap_or(Condition::Any(equals)))
    }
}

/// One look-up instead of many comparisons, where all are of one column with a literal.
fn as_set(equals: &[Condition]) -> Option<Condition> {
    match *equals.first()? {
        Condition::Within { column, .. } => {
            let value = |equal: &Condition| match *equal {
                Condition::Within {
                    column: of,
                    least,
                    greatest,
                } if of == column => Some((least == greatest).then_some(least)),
                _ => None,
            };
            let values: Option<Vec<_>> = equals.iter().map(value).collect();
            let mut values: Vec<_> = values?.into_iter().flatten().collect();
            values.sort_unstable();
            Some(Condition::OneOf { column, values })
        }
        Condition::Texts(Text::Column(column), ..) => {
            let value = |equal: &Condition| match equal {
                Condition::Texts(Text::Column(of), _, Text::Literal(text)) if *of == column => {
                    Some(text.clone())
                }
                _ => None,
            };
            let mut values: Vec<_> = equals.iter().map(value).collect::<Option<_>>()?;
            values.sort_unstable();
            Some(Condition::TextOneOf { column, values })
        }
        _ => None,
    }
}

fn mirrored(comparator: Comparator) -> Comparator {
    match comparator {
        Comparator::Less => Comparator::Greater,
        Comparator::LessOrEqual => Comparator::GreaterOrEqual,
        Comparator::GreaterOrEqual => Comparator::LessOrEqual,
        Comparator::Greater => Comparator::Less,
        same => same,
    }
}

fn compare(left: Operand, comparator: Comparator, right: Operand) -> Result<Condition, String> {
    match (left, right) {
        (Operand::Null, _) | (_, Operand::Null) => {
            Err("nothing compares with null: write `is null` or `is not null`".to_owned())
        }
        (Operand::Exact(left, of_left), Operand::Exact(right, of_right)) => {
            exact((left, of_left), comparator, (right, of_right))
        }
        (
            left @ (Operand::Exact(..) | Operand::Double(_)),
            right @ (Operand::Exact(..) | Operand::Double(_)),
        ) => Ok(Condition::Doubles(
            left.into_double(),
            comparator,
            right.into_double(),
        )),
        (Operand::Text(left), Operand::Text(right)) => {
            Ok(Condition::Texts(left, comparator, right))
        }
        (Operand::Column(left, ty), Operand::Column(right, other)) if ty == other => Ok(match ty {
            DataType::Binary => {
                Condition::Texts(Text::Column(left), comparator, Text::Column(right))
            }
            _ => Condition::Times(left, comparator, right),
        }),
        (Operand::Column(column, ty), Operand::Text(Text::Literal(text))) => {
            with_literal(column, ty, comparator, &text)
        }
        (Operand::Text(Text::Literal(text)), Operand::Column(column, ty)) => {
            with_literal(column, ty, mirrored(comparator), &text)
        }
        (Operand::Condition(left), Operand::Condition(right)) => {
            let same = Condition::Same(Box::new(left), Box::new(right));
            match comparator {
                Comparator::Equal => Ok(same),
                Comparator::Unequal => Ok(Condition::Not(Box::new(same))),
                _ => Err("true and false can only be compared by `=` and `<>`".to_owned()),
            }
        }
        (left, right) => {
            let (left, right) = (left.kind(), right.kind());
            Err(format!("{left} cannot be compared with {right}"))
        }
    }
}

fn exact(
    (left, of_left): (Tree<i128>, u32),
    comparator: Comparator,
    (right, of_right): (Tree<i128>, u32),
) -> Result<Condition, String> {
    let literal =
        |operand: &Tree<i128>, scale| Operand::Exact(operand.clone(), scale).exact_literal();
    match (&left, &right) {
        (&Tree::Leaf(column), other) if let Some(other) = literal(other, of_right) => {
            Ok(range(column, comparator, other.floor(of_left)))
        }
        (other, &Tree::Leaf(column)) if let Some(other) = literal(other, of_left) => {
            Ok(range(column, mirrored(comparator), other.floor(of_right)))
        }
        _ => {
            let scale = of_left.max(of_right);
            let (left, right) = (
                rescale(left, of_left, scale)?,
                rescale(right, of_right, scale)?,
            );
            Ok(Condition::Exact(left, comparator, right))
        }
    }
}

fn with_literal(
    column: usize,
    ty: DataType,
    comparator: Comparator,
    text: &[u8],
) -> Result<Condition, String> {
    let text = std::str::from_utf8(text).expect("the expression is text");
    let value = match ty {
        DataType::Timestamp => literal::timestamp(text)?,
        DataType::Date => literal::date(text)?,
        _ => {
            let bytes = literal::binary(text)?;
            return Ok(Condition::Texts(
                Text::Column(column),
                comparator,
                Text::Literal(bytes),
            ));
        }
    };
    Ok(range(column, comparator, (value.into(), true)))
}

/// Which stored integers compare so with a number: `floor` is the greatest one that is not above it,
/// and whether it is the number itself.
fn range(column: usize, comparator: Comparator, (floor, is_exact): (i128, bool)) -> Condition {
    let (all, above) = (
        i128::from(i64::MIN)..=i128::from(i64::MAX),
        floor.saturating_add(1),
    );
    let ceiling = if is_exact { floor } else { above };
    let (least, greatest) = match comparator {
        Comparator::Less => (*all.start(), ceiling.saturating_sub(1)),
        Comparator::LessOrEqual => (*all.start(), floor),
        Comparator::Greater => (above, *all.end()),
        Comparator::GreaterOrEqual => (ceiling, *all.end()),
        // Without an integer that is the number, the range is empty.
        Comparator::Equal | Comparator::Unequal => (ceiling, floor),
    };
    let (least, greatest) = (least.max(*all.start()), greatest.min(*all.end()));
    let (least, greatest) = if least > greatest {
        (1, 0)
    } else {
        (least as i64, greatest as i64)
    };
    let within = Condition::Within {
        column,
        least,
        greatest,
    };
    match comparator {
        Comparator::Unequal => Condition::Not(Box::new(within)),
        _ => within,
    }
}
