//! What words say about what stands beside them.
//!
//! One table for all: words that announce an identifier in several languages, names, and the words of addresses and firms. A word is
//! looked up once, by a hash that is made while it is read.

use std::sync::LazyLock;

use super::normal::without_marks;

/// Longer words are not in the table.
pub(super) const LONGEST: usize = 24;

/// What a word announces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Context {
    Phone,
    Card,
    Account,
    NationalId,
    Tax,
    Passport,
    Driving,
    Birth,
    Medical,
    Plate,
    Place,
    /// A version, a section, a model: its numbers are nobody's.
    Version,
    /// An order, an invoice, a parcel: its numbers are no cards or phones.
    Reference,
    /// A label in front of somebody's name.
    PersonLabel,
    /// A label in front of a firm's name.
    FirmLabel,
    /// A label in front of an address.
    AddressLabel,
    Mac,
}

impl Context {
    pub(super) const COUNT: usize = 17;

    const fn bit(self) -> u64 {
        1 << self as u32
    }
}

/// Everything that is known of a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Meaning(u64);

impl Meaning {
    pub(super) const NONE: Self = Self(0);
    pub(super) const GIVEN: Self = Self(1 << 32);
    pub(super) const SURNAME: Self = Self(1 << 33);
    /// A name that is an ordinary word too.
    pub(super) const ORDINARY: Self = Self(1 << 34);
    /// `Dr`, `Mrs`.
    pub(super) const TITLE: Self = Self(1 << 35);
    /// `Street`, `rue`.
    pub(super) const STREET: Self = Self(1 << 36);
    /// `Ltd`, `GmbH`.
    pub(super) const FIRM: Self = Self(1 << 37);
    pub(super) const MONTH: Self = Self(1 << 38);
    /// May stand in front of a password.
    pub(super) const PASSWORD: Self = Self(1 << 39);
    /// May stand in front of a key or token.
    pub(super) const KEY: Self = Self(1 << 40);
    /// May begin a marking.
    pub(super) const MARKING: Self = Self(1 << 41);
    /// `de`, `van`: between names.
    pub(super) const PARTICLE: Self = Self(1 << 42);
    /// Begins sentences and headings with a capital and is no name.
    pub(super) const PLAIN: Self = Self(1 << 43);
    /// `Apt`, `Suite`, `Floor`.
    pub(super) const UNIT: Self = Self(1 << 44);

    /// May be the second word of a pair.
    pub(super) const SECOND: Self = Self(1 << 45);

    #[inline]
    pub(super) fn has(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    pub(super) const fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// One bit for each context.
    pub(super) fn contexts(self) -> u32 {
        (self.0 & u64::from(u32::MAX)) as u32
    }

    pub(super) fn announces(self, context: Context) -> bool {
        self.0 & context.bit() != 0
    }

    const fn context(context: Context) -> Self {
        Self(context.bit())
    }
}

const WORDS: &[(Meaning, &str)] = &[
    (Meaning::SECOND, "security insurance id card number fiscale identification code account"),
    (
        Meaning::context(Context::Phone),
        "phone phones telephone tel mobile cell cellphone fax call calls called ring dial desk office whatsapp sms text texts reach hotline \
         telefon handy mobil rufnummer anrufen telefono movil celular llamar telefone telemovel ligar appeler portable numero gsm tlf telefoon \
         puhelin telefonnummer cellulare messages 电话 手机 號碼 携帯 전화",
    ),
    (
        Meaning::context(Context::Card),
        "card cards visa mastercard amex maestro creditcard cc debit pan karte kreditkarte tarjeta carte carta cartao kaart kort discover jcb",
    ),
    (
        Meaning::context(Context::Account),
        "account acct iban konto kontonummer cuenta compte conto conta rekening sortcode routing aba bsb clabe",
    ),
    (
        Meaning::context(Context::NationalId),
        "ssn sin nhs nino nin aadhaar aadhar bsn burgerservicenummer pesel cpf rut run dni nie nif cedula curp personnummer personnumer cpr \
         fodselsnummer hetu henkilotunnus oib egn cnp amka rrn nric fin hkid ahv avs svnr sozialversicherungsnummer insee nir ppsn \
         tckn kimlik codicefiscale personalausweis ausweisnummer steuerid identifikationsnummer isikukood rijksregisternummer nid \
         teudat zehut",
    ),
    (
        Meaning::context(Context::Tax),
        "tin ein itin tfn utr vat tva iva ust mwst ustid ustidnr steuernummer steuer tax nif cif nip cnpj cuit cuil gst gstin pan abn partita siret siren fein",
    ),
    (
        Meaning::context(Context::Passport),
        "passport passports reisepass pass passeport pasaporte passaporto passaporte paspoort paszport",
    ),
    (Meaning::context(Context::Driving), "license licence licenses fuhrerschein permis dl driver drivers"),
    (
        Meaning::context(Context::Birth),
        "born birth birthday birthdate dob geboren geburtsdatum geb naissance naissante nacimiento nascita nascimento geboortedatum \
         fodt fodselsdato fodd syntynyt urodzenia nato nata",
    ),
    (
        Meaning::context(Context::Medical),
        "mrn patient patients medical krankenakte patientennummer hospital chart",
    ),
    (
        Meaning::context(Context::Plate),
        "plate plates registration kennzeichen immatriculation matricula targa kenteken rego nummernschild vrn",
    ),
    (
        Meaning::context(Context::Place),
        "coordinates coordinate coords latitude longitude lat lon lng gps location geo position koordinaten",
    ),
    (
        Meaning::context(Context::Version),
        "version versions ver release section chapter rfc sdk build firmware python java node kernel",
    ),
    (
        Meaning::context(Context::Reference),
        "order orders invoice tracking isbn issn ticket parcel serial sku ean gtin doi batch lot case issue commit request id uuid ref reference",
    ),
    (
        Meaning::context(Context::PersonLabel),
        "name names dear hi hello contact attn claimant customer client employee recipient sender signed signature regards sincerely \
         patient beneficiary payee author from to cc nom vorname nachname nombre apellido called madam sir",
    ),
    (
        Meaning::context(Context::FirmLabel),
        "employer company provider firma vendor supplier merchant organisation organization bank",
    ),
    (
        Meaning::context(Context::AddressLabel),
        "address adresse direccion indirizzo endereco adres live lives lived located resident shipping billing domicile",
    ),
    (Meaning::context(Context::Mac), "mac ethernet bssid hwaddr"),
    (
        Meaning::TITLE,
        "mr mrs ms miss mx dr prof professor sir dame lord lady herr frau monsieur madame mme senor senora sr sra signor signora dhr mevrouw rev",
    ),
    (
        Meaning::STREET,
        "street st road rd avenue ave boulevard blvd lane ln drive dr court ct circle cir way terrace place pl parkway pkwy highway hwy \
         square sq trail trl alley strasse str gasse weg allee platz ring rue quai chemin impasse calle avenida plaza paseo via viale \
         piazza corso rua travessa praca straat laan plein gracht ulica ul vej vei gata gatan katu tie utca utja ut ulice namesti",
    ),
    (Meaning::UNIT, "apt apartment suite ste unit floor po pobox postbox box psc"),
    (
        Meaning::FIRM,
        "inc ltd llc llp plc corp corporation gmbh ag kg sarl sas sa spa srl bv nv ab oy aps pty limited holdings oyj kft zrt ug ohg \
         enterprises industries technologies solutions partners group systems foundation university bank consulting",
    ),
    (
        Meaning::MONTH,
        "january february march april may june july august september october november december jan feb mar apr jun jul aug sep sept oct nov dec \
         januar februar marz mai juni juli oktober dezember janvier fevrier mars avril juin juillet aout septembre octobre novembre decembre \
         enero febrero marzo abril mayo junio julio agosto septiembre octubre noviembre diciembre gennaio febbraio aprile maggio giugno luglio \
         settembre ottobre dicembre",
    ),
    (
        Meaning::PASSWORD,
        "password passwd passwort passphrase passcode pwd pass kennwort contrasena motdepasse senha wachtwoord",
    ),
    (
        Meaning::KEY,
        "key apikey token secret secrets credential credentials auth authorization bearer accesskey secretkey privatekey",
    ),
    (
        Meaning::MARKING,
        "confidential confidentiality secret restricted privileged tlp proprietary classified vertraulich confidentiel confidencial riservato \
         vertrouwelijk nda embargoed eyes work",
    ),
    (
        Meaning::PARTICLE,
        "de da di del della van von der den la le du dos das el al bin ibn ter ten zu af av und y e",
    ),
    (
        Meaning::PLAIN,
        "the a an and or but if in on at by for with as is are was were be been it its this that these those there here he she they we you i \
         my your his her our their what when where which who whom whose why how not no yes please thanks thank so then than do does did done \
         has have had would could should might must shall can one two three first second new old all any some each every other another \
         monday tuesday wednesday thursday friday saturday sunday today tomorrow yesterday best regards kind dear hi hello hey re fwd subject \
         date page section chapter figure table note total amount email mail web website north south east west united states kingdom \
         university college school department government president minister king queen church city county state river lake mount saint \
         after before during since until while because although however also just only even now once about above below between from into \
         let make see look get go come take give use find show tell ask say said like need want know think feel try call keep set put",
    ),
];

/// Two words that mean something only together.
const PAIRS: &[(&str, &str, Context)] = &[
    ("social", "security", Context::NationalId),
    ("social", "insurance", Context::NationalId),
    ("national", "insurance", Context::NationalId),
    ("national", "id", Context::NationalId),
    ("identity", "card", Context::NationalId),
    ("identity", "number", Context::NationalId),
    ("id", "number", Context::NationalId),
    ("personal", "number", Context::NationalId),
    ("my", "number", Context::NationalId),
    ("codice", "fiscale", Context::NationalId),
    ("employer", "identification", Context::Tax),
    ("sort", "code", Context::Account),
    ("bank", "account", Context::Account),
    ("record", "number", Context::Medical),
];

const NAMES: &str = include_str!("../../data/names.txt");

/// FNV-1a's offset.
pub(super) const SEED: u64 = 0xcbf2_9ce4_8422_2325;

/// One more byte of the folded word (FNV-1a, 64 bits).
#[inline]
pub(super) fn step(hash: u64, byte: u8) -> u64 {
    (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
}

/// Slots of the table: a power of two, about three times the words in it.
const SLOTS: usize = 1 << 15;

/// An open-addressed table. A slot holds a part of the hash, not the word: one lookup in some hundred million takes a word for another.
struct Table {
    tags: Vec<u32>,
    indexes: Vec<u8>,
    meanings: Vec<Meaning>,
}

static TABLE: LazyLock<Table> = LazyLock::new(Table::build);

impl Table {
    fn build() -> Self {
        let mut table = Self { tags: vec![0; SLOTS], indexes: vec![0; SLOTS], meanings: vec![Meaning::NONE] };
        for (meaning, words) in WORDS {
            for word in words.split_whitespace() {
                table.add(hash(word.as_bytes()), *meaning);
            }
        }
        let mut section = Meaning::NONE;
        for word in NAMES.lines().filter(|line| !line.starts_with('#')).flat_map(str::split_whitespace) {
            match word {
                "[given]" => section = Meaning::GIVEN,
                "[surname]" => section = Meaning::SURNAME,
                "[both]" => section = Meaning::GIVEN.or(Meaning::SURNAME),
                _ => match word.strip_suffix('?') {
                    Some(word) => table.add(hash(word.as_bytes()), section.or(Meaning::ORDINARY)),
                    None => table.add(hash(word.as_bytes()), section),
                },
            }
        }
        table
    }

    fn slot(&self, hash: u64) -> (usize, u32) {
        // Zero marks a free slot.
        let tag = ((hash >> 32) as u32).max(1);
        let mut slot = hash as usize % SLOTS;
        while self.tags.get(slot).is_some_and(|other| *other != 0 && *other != tag) {
            slot = (slot + 1) % SLOTS;
        }
        (slot, tag)
    }

    fn get(&self, hash: u64) -> Meaning {
        let (slot, _) = self.slot(hash);
        let index = self.indexes.get(slot).copied().unwrap_or(0);
        self.meanings.get(usize::from(index)).copied().unwrap_or(Meaning::NONE)
    }

    fn add(&mut self, hash: u64, meaning: Meaning) {
        let (slot, tag) = self.slot(hash);
        let meaning = self.get(hash).or(meaning);
        let known = self.meanings.iter().position(|other| *other == meaning);
        let index = known.unwrap_or_else(|| {
            self.meanings.push(meaning);
            self.meanings.len() - 1
        });
        if let (Some(a), Some(b), Ok(index)) =
            (self.tags.get_mut(slot), self.indexes.get_mut(slot), u8::try_from(index))
        {
            (*a, *b) = (tag, index);
        }
    }
}

/// The hash of a word in small letters without accents.
fn hash(word: &[u8]) -> u64 {
    if word.is_ascii() {
        return word.iter().fold(SEED, |hash, byte| step(hash, byte.to_ascii_lowercase()));
    }
    let text = std::str::from_utf8(word).unwrap_or_default();
    let mut hash = SEED;
    for character in text.chars() {
        if character == 'ß' {
            hash = step(step(hash, b's'), b's');
            continue;
        }
        for small in without_marks(character).to_lowercase() {
            let mut buffer = [0; 4];
            hash = small.encode_utf8(&mut buffer).bytes().fold(hash, step);
        }
    }
    hash
}

/// The meaning of the word with this hash.
#[inline]
pub(super) fn by_hash(hash: u64) -> Meaning {
    TABLE.get(hash)
}

/// The meaning of a word in any case and with any accents.
pub(super) fn meaning(word: &[u8]) -> Meaning {
    by_hash(hash(word))
}

/// What two words in a row mean together.
pub(super) fn pair(first: &[u8], second: &[u8]) -> Meaning {
    let one = |(a, b, _): &&(&str, &str, Context)| {
        second.eq_ignore_ascii_case(b.as_bytes()) && first.eq_ignore_ascii_case(a.as_bytes())
    };
    PAIRS.iter().find(one).map_or(Meaning::NONE, |(_, _, context)| Meaning::context(*context))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_known_in_any_case_and_with_accents() {
        assert!(meaning(b"PHONE").announces(Context::Phone));
        assert!(meaning("Straße".as_bytes()).has(Meaning::STREET));
        assert!(meaning("Zürn".as_bytes()) == Meaning::NONE);
        assert!(meaning("José".as_bytes()).has(Meaning::GIVEN));
        assert!(meaning(b"Smith").has(Meaning::SURNAME));
        assert!(meaning(b"Mark").has(Meaning::ORDINARY));
        assert!(meaning(b"xylophone") == Meaning::NONE);
        assert!(pair(b"Social", b"Security").announces(Context::NationalId));
    }

    #[test]
    fn second_words_of_pairs_are_known_as_such() {
        assert!(PAIRS.iter().all(|(_, second, _)| meaning(second.as_bytes()).has(Meaning::SECOND)));
    }

    #[test]
    fn the_table_holds_all_its_meanings() {
        assert!(TABLE.meanings.len() < 256, "{}", TABLE.meanings.len());
        let used = TABLE.tags.iter().filter(|tag| **tag != 0).count();
        assert!(used < SLOTS / 2, "{used}");
    }
}
