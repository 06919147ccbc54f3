//! What a part of the expression stands for, once its columns are known.

use wasmill_guest::DataType;

use crate::condition::{Condition, Text};
use crate::literal::Exact;
use crate::number::{Double, Tree};
use crate::syntax::Operator;

/// Digits that an exact number may have after the point, on the way too.
pub(crate) const SCALE_MAX: u32 = 36;

/// Digits after the point that a quotient of exact numbers has at least.
pub(crate) const QUOTIENT_SCALE: u32 = 12;

/// What a part stands for.
#[derive(Debug, Clone)]
pub(crate) enum Operand {
    Exact(Tree<i128>, u32),
    Double(Tree<f64>),
    Text(Text),
    /// a column of timestamps, dates or bytes
    Column(usize, DataType),
    Condition(Condition),
    Null,
}

impl Operand {
    /// For messages.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Exact(..) | Self::Double(_) => "a number",
            Self::Text(_) => "a text",
            Self::Column(_, DataType::Timestamp) => "a timestamp",
            Self::Column(_, DataType::Date) => "a date",
            Self::Column(..) => "binary",
            Self::Condition(_) => "true or false",
            Self::Null => "null",
        }
    }

    pub(crate) fn number(literal: Exact) -> Self {
        Self::Exact(Tree::Literal(literal.unscaled), literal.scale)
    }

    /// The number if it is one and was written out.
    pub(crate) fn exact_literal(&self) -> Option<Exact> {
        match self {
            Self::Exact(Tree::Literal(unscaled), scale) => Some(Exact {
                unscaled: *unscaled,
                scale: *scale,
            }),
            _ => None,
        }
    }

    /// The negative number.
    pub(crate) fn negative(self) -> Result<Self, String> {
        match self {
            Self::Exact(Tree::Literal(value), scale) => {
                Ok(Self::Exact(Tree::Literal(-value), scale))
            }
            Self::Exact(tree, scale) => Ok(Self::Exact(Tree::Negative(Box::new(tree)), scale)),
            Self::Double(tree) => Ok(Self::Double(Tree::Negative(Box::new(tree)))),
            other => Err(format!("there is no negative of {}", other.kind())),
        }
    }

    /// `left operator right`. In doubles as soon as one of them is one.
    pub(crate) fn arithmetic(operator: Operator, left: Self, right: Self) -> Result<Self, String> {
        match (left, right) {
            (Self::Exact(left, of_left), Self::Exact(right, of_right)) => {
                exact(operator, (left, of_left), (right, of_right))
            }
            (
                left @ (Self::Exact(..) | Self::Double(_)),
                right @ (Self::Exact(..) | Self::Double(_)),
            ) => {
                let tree = Tree::pair(operator, left.into_double(), right.into_double());
                Ok(Self::Double(tree))
            }
            (Self::Exact(..) | Self::Double(_), other) | (other, _) => {
                Err(format!("one cannot calculate with {}", other.kind()))
            }
        }
    }

    /// A number as doubles.
    ///
    /// # Panics
    ///
    /// When it is no number.
    pub(crate) fn into_double(self) -> Tree<f64> {
        match self {
            Self::Double(tree) => tree,
            Self::Exact(Tree::Literal(unscaled), scale) => {
                let nearest = format!("{unscaled}e-{scale}").parse();
                Tree::Literal(nearest.expect("digits and an exponent are a double"))
            }
            Self::Exact(tree, scale) => {
                Tree::Leaf(Double::Exact(tree, 10_f64.powi(scale.cast_signed())))
            }
            other => panic!("{} is no number", other.kind()),
        }
    }
}

fn exact(
    operator: Operator,
    (left, of_left): (Tree<i128>, u32),
    (right, of_right): (Tree<i128>, u32),
) -> Result<Operand, String> {
    let (left, right, scale) = match operator {
        Operator::Add | Operator::Subtract => {
            let scale = of_left.max(of_right);
            (
                rescale(left, of_left, scale)?,
                rescale(right, of_right, scale)?,
                scale,
            )
        }
        Operator::Multiply => (left, right, of_left + of_right),
        // left / 10^l divided by right / 10^r, times 10^scale, is left × 10^(scale + r − l) / right.
        Operator::Divide => {
            let scale = of_left.max(QUOTIENT_SCALE);
            (rescale(left, of_left, scale + of_right)?, right, scale)
        }
    };
    if scale > SCALE_MAX {
        return Err(too_fine());
    }
    Ok(Operand::Exact(Tree::pair(operator, left, right), scale))
}

/// The same number with more digits after the point.
pub(crate) fn rescale(tree: Tree<i128>, from: u32, to: u32) -> Result<Tree<i128>, String> {
    if to > SCALE_MAX {
        return Err(too_fine());
    }
    let factor = 10_i128.pow(to - from);
    Ok(match tree {
        tree if factor == 1 => tree,
        Tree::Literal(value) => match value.checked_mul(factor) {
            Some(value) => Tree::Literal(value),
            None => return Err("it has more digits than can be computed with".to_owned()),
        },
        tree => Tree::pair(Operator::Multiply, tree, Tree::Literal(factor)),
    })
}

fn too_fine() -> String {
    format!("the result has more than {SCALE_MAX} digits after the point")
}
