//! Groups the settings into families, and defines the cells that a mean over languages includes.

use interlingua_data::Language;

use crate::fit_on::FitOn;
use crate::plan::{Plan, Setting};
use crate::role::Role;
use crate::spec::Space;

/// The languages that a mean over cells includes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scope {
    /// Each edit in the language of its fit.
    Fit,
    /// Each edit in all other languages.
    Others,
    /// Each edit in all languages.
    All,
    /// An edit that was fitted on all languages except one, in that one.
    LeftOut,
}

impl Scope {
    /// All scopes, in the order of their rows.
    pub const ALL: [Scope; 4] = [Scope::Fit, Scope::Others, Scope::All, Scope::LeftOut];

    /// Returns the name in rows.
    pub fn name(self) -> &'static str {
        match self {
            Scope::Fit => "fit",
            Scope::Others => "others",
            Scope::All => "all",
            Scope::LeftOut => "left-out",
        }
    }

    /// Whether an edit fitted so is judged in a language.
    fn takes(self, fit: FitOn, language: Language) -> bool {
        match (self, fit) {
            (Scope::Fit, FitOn::One(own)) => own == language,
            (Scope::Others, FitOn::One(own)) => own != language,
            (Scope::All, FitOn::One(_) | FitOn::All) => true,
            (Scope::LeftOut, FitOn::AllBut(out)) => out == language,
            _ => false,
        }
    }
}

/// How the members of a family were fitted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fits {
    /// They were not fitted.
    Nothing,
    /// Each was fitted in one language.
    One,
    /// One was fitted on all languages together.
    Joint,
    /// Each was fitted on all languages except one.
    AllBut,
}

impl Fits {
    fn of(setting: &Setting) -> Fits {
        match setting.fit_language {
            None => Fits::Nothing,
            Some(FitOn::One(_)) => Fits::One,
            Some(FitOn::All) => Fits::Joint,
            Some(FitOn::AllBut(_)) => Fits::AllBut,
        }
    }
}

/// Settings that differ only in category and fit language. They make one line of a table.
#[derive(Debug, Clone)]
pub struct Family {
    /// The setting that they have in common, without category and fit language.
    pub common: Setting,
    /// How they were fitted.
    pub fits: Fits,
    /// Their positions in the plan.
    pub members: Vec<usize>,
}

impl Family {
    /// Returns whether the family is there for comparison only.
    pub fn is_control(&self) -> bool {
        self.common.role.is_comparison()
    }

    /// Returns the value of the column `fit_language` in its rows; only fits on all languages have one.
    pub fn fit_language(&self) -> Option<String> {
        (self.fits == Fits::Joint).then(|| FitOn::All.to_string())
    }
}

/// The families of a plan, in its order, with the families that each is compared with.
#[derive(Debug)]
pub struct Families {
    /// The families.
    pub all: Vec<Family>,
    /// The position of the family of every setting of the plan.
    pub of_setting: Vec<usize>,
    /// What the plan's edits are fitted on, each once.
    fits: Vec<FitOn>,
}

impl Families {
    /// Groups all settings of a plan into families.
    pub fn new(plan: &Plan) -> Families {
        let mut all: Vec<Family> = Vec::new();
        let mut fits: Vec<FitOn> = Vec::new();
        let mut of_setting = Vec::with_capacity(plan.settings.len());
        for (place, setting) in plan.settings.iter().enumerate() {
            let how = Fits::of(setting);
            let common = Setting {
                category: String::new(),
                fit_language: None,
                ..setting.clone()
            };
            let same = |f: &Family| f.fits == how && f.common == common;
            let at = all.iter().position(same).unwrap_or_else(|| {
                all.push(Family {
                    common: common.clone(),
                    fits: how,
                    members: Vec::new(),
                });
                all.len() - 1
            });
            all[at].members.push(place);
            of_setting.push(at);
            fits.extend(setting.fit_language.filter(|fit| !fits.contains(fit)));
        }
        Families {
            all,
            of_setting,
            fits,
        }
    }

    /// Returns how often a scope includes the cell of a setting and an evaluation language. A setting that is fitted
    /// on nothing is in every cell of what it is compared with.
    pub fn times(&self, scope: Scope, setting: &Setting, language: Language) -> f64 {
        match setting.fit_language {
            None => {
                let fits = self.fits.iter();
                fits.filter(|fit| scope.takes(**fit, language)).count() as f64
            }
            Some(fit) => f64::from(u8::from(scope.takes(fit, language))),
        }
    }

    /// Returns the position of the unedited model.
    pub fn unedited(&self) -> Option<usize> {
        self.all
            .iter()
            .position(|f| f.common.role == Role::Unedited)
    }

    /// Returns the position of the family that differs from this one only in being in the raw space.
    pub fn raw(&self, family: &Family) -> Option<usize> {
        if family.is_control() || family.common.space == Some(Space::Raw) {
            return None;
        }
        self.find(
            Some(family.fits),
            &Setting {
                space: Some(Space::Raw),
                reinsert: None,
                ..family.common.clone()
            },
        )
    }

    /// Returns the positions of the matched controls: the method fitted on shuffled labels, and a random subspace of
    /// the same rank.
    pub fn controls(&self, family: &Family) -> Vec<usize> {
        if family.is_control() {
            return Vec::new();
        }
        let controls = family.common.controls();
        let found = controls.map(|control| {
            let fits = control.method.is_some().then_some(family.fits);
            self.find(fits, &control)
        });
        found.into_iter().flatten().collect()
    }

    fn find(&self, fits: Option<Fits>, common: &Setting) -> Option<usize> {
        let mut families = self.all.iter();
        families.position(|f| fits.is_none_or(|fits| f.fits == fits) && f.common == *common)
    }
}
