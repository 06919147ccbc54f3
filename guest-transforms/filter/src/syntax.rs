//! The text of a condition → a tree of what it says, not yet knowing any column.
//!
//! The grammar is `grammar.pest`.
//!
//! # Invariants
//!
//! A tree's depth is bounded (`NESTING_MAX`, `OPERATORS_MAX`), so whoever walks it may recurse.

use std::cell::Cell;

use pest::Parser;
use pest::error::{ErrorVariant, InputLocation};
use pest::iterators::{Pair, Pairs};
use pest_derive::Parser;

use crate::place::complain;

/// How deep parentheses may be nested.
const NESTING_MAX: usize = 50;

/// How many `+`, `-`, `*` and `/` there may be: those that follow each other are nested to the left.
const OPERATORS_MAX: usize = 100;

mod grammar {
    #[derive(super::Parser)]
    #[grammar = "grammar.pest"]
    pub(super) struct Grammar;
}

use grammar::{Grammar, Rule};

/// A part of the expression, and where it begins in the text, in bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Node {
    pub(crate) at: usize,
    pub(crate) says: Says,
}

/// What a part says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Says {
    Column(String),
    /// digits, perhaps a point and more digits
    Number(String),
    Text(String),
    Truth(bool),
    Null,
    Negative(Box<Node>),
    Arithmetic(Operator, Box<Node>, Box<Node>),
    Compare(Comparator, Box<Node>, Box<Node>),
    IsNull(Box<Node>),
    Is(bool, Box<Node>),
    /// value, least, greatest
    Between(Box<[Node; 3]>),
    Among(Box<Node>, Vec<Node>),
    Like {
        value: Box<Node>,
        pattern: String,
        escape: Option<char>,
    },
    Not(Box<Node>),
    All(Vec<Node>),
    Any(Vec<Node>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Operator {
    Add,
    Subtract,
    Multiply,
    Divide,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Comparator {
    Less,
    LessOrEqual,
    Equal,
    Unequal,
    GreaterOrEqual,
    Greater,
}

/// Reads a condition.
///
/// # Errors
///
/// Name the place, what was expected and what was found.
pub(crate) fn parse(text: &str) -> Result<Node, String> {
    bounded(text)?;
    let whole = Grammar::parse(Rule::whole, text).map_err(|error| explain(text, &error))?;
    let reader = Reader {
        text,
        operators: Cell::new(0),
    };
    let top = whole
        .flat_map(Pair::into_inner)
        .next()
        .expect("a whole has a disjunction");
    reader.disjunction(top)
}

/// The parser and all who walk the tree recurse at parentheses. Those in texts are counted too.
fn bounded(text: &str) -> Result<(), String> {
    let mut depth = 0_usize;
    for (offset, byte) in text.bytes().enumerate() {
        match byte {
            b'(' => depth += 1,
            b')' => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > NESTING_MAX {
            let what = format!("parentheses are nested deeper than {NESTING_MAX}");
            return Err(complain(text, offset, what));
        }
    }
    Ok(())
}

fn explain(text: &str, error: &pest::error::Error<Rule>) -> String {
    let (InputLocation::Pos(offset) | InputLocation::Span((offset, _))) = error.location;
    let ErrorVariant::ParsingError { positives, .. } = &error.variant else {
        return complain(text, offset, error.variant.message());
    };
    let rest = &text[offset..];
    let quote = rest.chars().next().filter(|c| "'\"`".contains(*c));
    if quote.is_some_and(|quote| !rest[1..].contains(quote)) {
        return complain(text, offset, "this quote is not closed");
    }
    let any = |rules: &[Rule]| rules.iter().any(|rule| positives.contains(rule));
    let expected = if any(&[Rule::negation, Rule::factor, Rule::sum]) {
        "a column or a value"
    } else if any(&[Rule::text]) {
        "a text in quotes"
    } else if any(&[Rule::null]) {
        "`null`, `true` or `false`"
    } else if any(&[Rule::kw_in]) && !any(&[Rule::comparator]) {
        "`in`, `like` or `between`"
    } else {
        "an operator"
    };
    let found = match rest.split_whitespace().next() {
        None => "the end".to_owned(),
        Some(word) => format!("`{}`", word.chars().take(20).collect::<String>()),
    };
    complain(text, offset, format!("expected {expected}, found {found}"))
}

/// Builds nodes from what the grammar matched.
struct Reader<'a> {
    text: &'a str,
    /// how many there were so far
    operators: Cell<usize>,
}

type Parsed = Result<Node, String>;

impl Reader<'_> {
    fn disjunction(&self, pair: Pair<'_, Rule>) -> Parsed {
        self.list(pair, Rule::or, Self::conjunction, Says::Any)
    }

    fn conjunction(&self, pair: Pair<'_, Rule>) -> Parsed {
        self.list(pair, Rule::and, Self::negation, Says::All)
    }

    /// Parts with a word between them: the part itself if it is alone.
    fn list(
        &self,
        pair: Pair<'_, Rule>,
        separator: Rule,
        part: impl Fn(&Self, Pair<'_, Rule>) -> Parsed,
        says: impl Fn(Vec<Node>) -> Says,
    ) -> Parsed {
        let at = pair.as_span().start();
        let mut parts = Vec::new();
        for inner in pair
            .into_inner()
            .filter(|inner| inner.as_rule() != separator)
        {
            parts.push(part(self, inner)?);
        }
        Ok(match <[Node; 1]>::try_from(parts) {
            Ok([alone]) => alone,
            Err(parts) => Node {
                at,
                says: says(parts),
            },
        })
    }

    fn negation(&self, pair: Pair<'_, Rule>) -> Parsed {
        let at = pair.as_span().start();
        let mut inner = pair.into_inner();
        let nots = leading(&mut inner, Rule::not);
        let node = self.predicate(next(&mut inner))?;
        Ok(negated(nots % 2 == 1, at, node))
    }

    fn predicate(&self, pair: Pair<'_, Rule>) -> Parsed {
        let at = pair.as_span().start();
        let mut inner = pair.into_inner();
        let value = self.sum(next(&mut inner))?;
        let Some(test) = inner.next() else {
            return Ok(value);
        };
        let value = Box::new(value);
        let rule = test.as_rule();
        let mut inner = test.into_inner();
        if rule == Rule::comparison {
            let comparator = comparator(next(&mut inner).as_str());
            let right = Box::new(self.sum(next(&mut inner))?);
            let says = Says::Compare(comparator, value, right);
            return Ok(Node { at, says });
        }
        // `not` stands behind `is`, and before the other words.
        leading(&mut inner, Rule::kw_is);
        let nots = leading(&mut inner, Rule::not);
        let says = match rule {
            Rule::is => match next(&mut inner) {
                null if null.as_rule() == Rule::null => Says::IsNull(value),
                truth => Says::Is(is_true(truth.as_str()), value),
            },
            Rule::between => {
                leading(&mut inner, Rule::kw_between);
                let least = self.sum(next(&mut inner))?;
                leading(&mut inner, Rule::and);
                let greatest = self.sum(next(&mut inner))?;
                Says::Between(Box::new([*value, least, greatest]))
            }
            Rule::among => {
                leading(&mut inner, Rule::kw_in);
                Says::Among(
                    value,
                    inner.map(|pair| self.sum(pair)).collect::<Result<_, _>>()?,
                )
            }
            Rule::like => {
                leading(&mut inner, Rule::kw_like);
                self.like(value, inner)?
            }
            other => unreachable!("a predicate has no {other:?}"),
        };
        Ok(negated(nots == 1, at, Node { at, says }))
    }

    fn like(&self, value: Box<Node>, mut inner: Pairs<'_, Rule>) -> Result<Says, String> {
        let pattern = text_of(next(&mut inner));
        leading(&mut inner, Rule::kw_escape);
        let escape = match inner.next() {
            None => None,
            Some(pair) => {
                let at = pair.as_span().start();
                let text = text_of(pair);
                let mut chars = text.chars();
                match (chars.next(), chars.next()) {
                    (Some(escape), None) => Some(escape),
                    _ => return Err(complain(self.text, at, "`escape` takes one character")),
                }
            }
        };
        Ok(Says::Like {
            value,
            pattern,
            escape,
        })
    }

    fn sum(&self, pair: Pair<'_, Rule>) -> Parsed {
        self.chain(pair, Self::product)
    }

    fn product(&self, pair: Pair<'_, Rule>) -> Parsed {
        self.chain(pair, Self::factor)
    }

    /// Operands with operators between them, from left to right.
    fn chain(
        &self,
        pair: Pair<'_, Rule>,
        part: impl Fn(&Self, Pair<'_, Rule>) -> Parsed,
    ) -> Parsed {
        let at = pair.as_span().start();
        let mut inner = pair.into_inner();
        let mut left = part(self, next(&mut inner))?;
        while let Some(operator) = inner.next() {
            self.operators.set(self.operators.get() + 1);
            if self.operators.get() > OPERATORS_MAX {
                let what = format!("there are more than {OPERATORS_MAX} operators of arithmetic");
                return Err(complain(self.text, operator.as_span().start(), what));
            }
            let operator = match operator.as_rule() {
                Rule::plus => Operator::Add,
                Rule::minus => Operator::Subtract,
                Rule::times => Operator::Multiply,
                Rule::over => Operator::Divide,
                other => unreachable!("{other:?} is no operator"),
            };
            let right = Box::new(part(self, next(&mut inner))?);
            let says = Says::Arithmetic(operator, Box::new(left), right);
            left = Node { at, says };
        }
        Ok(left)
    }

    fn factor(&self, pair: Pair<'_, Rule>) -> Parsed {
        let at = pair.as_span().start();
        let mut inner = pair.into_inner();
        let signs = leading(&mut inner, Rule::minus);
        let operand = next(&mut inner);
        let begin = operand.as_span().start();
        let says = match operand.as_rule() {
            Rule::number => Says::Number(operand.as_str().to_owned()),
            Rule::text => Says::Text(text_of(operand)),
            Rule::boolean => Says::Truth(is_true(operand.as_str())),
            Rule::null => Says::Null,
            Rule::column => Says::Column(column_of(operand)),
            Rule::group => self.disjunction(next(&mut operand.into_inner()))?.says,
            other => unreachable!("{other:?} is no operand"),
        };
        let node = Node { at: begin, says };
        Ok(match signs {
            0 => node,
            // Two signs are none, but of a number still.
            even if even % 2 == 0 => negative(at, negative(at, node)),
            _ => negative(at, node),
        })
    }
}

fn next<'i>(pairs: &mut Pairs<'i, Rule>) -> Pair<'i, Rule> {
    pairs.next().expect("the grammar puts one here")
}

/// Takes the pairs of this rule that come first, and says how many they were.
fn leading(pairs: &mut Pairs<'_, Rule>, rule: Rule) -> usize {
    let mut count = 0;
    while pairs.peek().is_some_and(|pair| pair.as_rule() == rule) {
        pairs.next();
        count += 1;
    }
    count
}

fn negated(really: bool, at: usize, node: Node) -> Node {
    if really {
        let says = Says::Not(Box::new(node));
        Node { at, says }
    } else {
        node
    }
}

fn negative(at: usize, node: Node) -> Node {
    let says = Says::Negative(Box::new(node));
    Node { at, says }
}

fn is_true(word: &str) -> bool {
    word.eq_ignore_ascii_case("true")
}

fn comparator(sign: &str) -> Comparator {
    match sign {
        "<" => Comparator::Less,
        "<=" => Comparator::LessOrEqual,
        "<>" | "!=" => Comparator::Unequal,
        ">=" => Comparator::GreaterOrEqual,
        ">" => Comparator::Greater,
        _ => Comparator::Equal,
    }
}

/// A text without its quotes; a doubled quote in it is one.
fn text_of(pair: Pair<'_, Rule>) -> String {
    let inner = next(&mut pair.into_inner());
    match inner.as_rule() {
        Rule::single => inner.as_str().replace("''", "'"),
        _ => inner.as_str().replace("\"\"", "\""),
    }
}

fn column_of(pair: Pair<'_, Rule>) -> String {
    let inner = next(&mut pair.into_inner());
    match inner.as_rule() {
        Rule::quoted => inner.as_str().replace("``", "`"),
        _ => inner.as_str().to_owned(),
    }
}
