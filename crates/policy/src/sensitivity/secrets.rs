//! Keys, tokens and passwords.
//!
//! Services give their keys prefixes, so that they can be found; what has none is found by the word in front of it. The prefixes and
//! lengths are facts that the rules of gitleaks (MIT) and the services' own pages agree on.

use super::checks::entropy;
use super::kinds;
use super::scan::Scan;
use super::scan::Word;
use super::vocabulary::Meaning;

/// Longest value that is taken for a key or password.
const LONGEST: usize = 4096;
/// Bits for each character below which a string is no key but a word, a repetition, or somebody's `xxxx`.
const LEAST_ENTROPY: f32 = 2.7;

/// A prefix, and how many characters follow at least and at most.
type Prefix = (&'static [u8], usize, usize);

/// Sorted by first letter, so that a letter's are together.
const PREFIXES: &[Prefix] = &[
    (b"A3-", 30, 40),
    (b"AC_live_", 16, 80),
    (b"AGE-SECRET-KEY-1", 58, 58),
    (b"AIza", 35, 35),
    (b"AKCp", 60, 80),
    (b"AKIA", 16, 16),
    (b"ABIA", 16, 16),
    (b"ACCA", 16, 16),
    (b"ABSK", 100, 280),
    (b"API-", 26, 26),
    (b"AQ.Ab", 40, 60),
    (b"ASIA", 16, 16),
    (b"ATATT3", 100, 250),
    (b"ATCTT3", 100, 250),
    (b"CLOJARS_", 60, 60),
    (b"CFPAT-", 43, 43),
    (b"CCIPAT_", 40, 80),
    (b"DOPPLER", 20, 60),
    (b"EAAA", 40, 80),
    (b"EAACEdEose0cBA", 20, 250),
    (b"FLWSECK", 20, 60),
    (b"FLWPUBK", 20, 60),
    (b"FlyV1 fm", 60, 800),
    (b"GOCSPX-", 24, 32),
    (b"GR1348941", 20, 26),
    (b"HRKU-", 36, 66),
    (b"LTAI", 20, 24),
    (b"NRAK-", 27, 27),
    (b"NRII-", 32, 32),
    (b"NRJS-", 19, 19),
    (b"PMAK-", 55, 64),
    (b"SG.", 60, 72),
    (b"SK", 32, 32),
    (b"TFP_", 50, 70),
    (b"access-production-", 36, 36),
    (b"access-sandbox-", 36, 36),
    (b"age-secret-key-1", 58, 58),
    (b"apify_api_", 30, 40),
    (b"cfut_", 30, 60),
    (b"cmVmd", 59, 59),
    (b"csb_v1_", 30, 60),
    (b"dapi", 32, 34),
    (b"dckr_pat_", 24, 40),
    (b"dckr_oat_", 24, 40),
    (b"dg_", 30, 60),
    (b"doo_v1_", 64, 64),
    (b"dop_v1_", 64, 64),
    (b"dor_v1_", 64, 64),
    (b"dp.pt.", 40, 50),
    (b"dp.st.", 40, 60),
    (b"dt0c01.", 80, 100),
    (b"duffel_live_", 40, 50),
    (b"duffel_test_", 40, 50),
    (b"dvc_server_", 30, 60),
    (b"EZAK", 54, 54),
    (b"EZTK", 54, 54),
    (b"fio-u-", 60, 70),
    (b"fo1_", 40, 50),
    (b"flb_live_", 16, 60),
    (b"figd_", 36, 60),
    (b"fm2_", 60, 800),
    (b"gho_", 36, 40),
    (b"ghp_", 36, 40),
    (b"ghr_", 36, 80),
    (b"ghs_", 36, 80),
    (b"ghu_", 36, 40),
    (b"github_pat_", 80, 90),
    (b"glagent-", 50, 50),
    (b"glcbt-", 20, 40),
    (b"gldt-", 20, 40),
    (b"glffct-", 20, 40),
    (b"glft-", 20, 40),
    (b"glimt-", 25, 25),
    (b"gloas-", 64, 64),
    (b"glpat-", 20, 60),
    (b"glptt-", 40, 40),
    (b"glrt-", 20, 40),
    (b"glsoat-", 20, 40),
    (b"glc_", 32, 400),
    (b"glsa_", 32, 50),
    (b"gsk_", 48, 56),
    (b"hf_", 34, 40),
    (b"hvb.", 100, 300),
    (b"hvs.", 24, 140),
    (b"api_org_", 34, 34),
    (b"ico-", 32, 32),
    (b"key-", 32, 32),
    (b"lin_api_", 40, 40),
    (b"lin_oauth_", 40, 70),
    (b"live_", 35, 60),
    (b"lsv2_pt_", 40, 50),
    (b"lsv2_sk_", 40, 50),
    (b"mdb_sa_sk_", 30, 60),
    (b"napi_", 48, 70),
    (b"nfp_", 36, 48),
    (b"nvapi-", 60, 80),
    (b"npm_", 36, 36),
    (b"ntn_", 40, 50),
    (b"nsk_", 24, 60),
    (b"ops_eyJ", 200, 2000),
    (b"oy2", 43, 43),
    (b"p8e-", 32, 32),
    (b"pat", 79, 90),
    (b"phc_", 40, 50),
    (b"phx_", 40, 50),
    (b"pk_live_", 20, 120),
    (b"pnu_", 36, 36),
    (b"pplx-", 40, 56),
    (b"pscale_oauth_", 32, 64),
    (b"pscale_pw_", 32, 64),
    (b"pscale_tkn_", 32, 64),
    (b"pul-", 40, 40),
    (b"pypi-AgE", 50, 1000),
    (b"r8_", 37, 40),
    (b"rdme_", 70, 70),
    (b"re_", 30, 40),
    (b"rk_live_", 10, 120),
    (b"rk_test_", 10, 120),
    (b"rnd_", 28, 40),
    (b"rpa_", 36, 60),
    (b"rubygems_", 48, 48),
    (b"sbp_", 40, 48),
    (b"secret_", 43, 43),
    (b"sgp_", 40, 60),
    (b"sha256~", 43, 43),
    (b"shippo_live_", 40, 40),
    (b"shippo_test_", 40, 40),
    (b"shpat_", 32, 32),
    (b"shpca_", 32, 32),
    (b"shppa_", 32, 32),
    (b"shpss_", 32, 32),
    (b"sk-", 20, 200),
    (b"sk_live_", 10, 120),
    (b"sk_prod_", 10, 120),
    (b"sk_test_", 10, 120),
    (b"sl.", 60, 1200),
    (b"sm_aat_", 16, 16),
    (b"sm_pat_", 16, 16),
    (b"sntrys_", 60, 400),
    (b"sntryu_", 64, 64),
    (b"sq0atp-", 22, 60),
    (b"sq0csp-", 40, 60),
    (b"squ_", 40, 40),
    (b"sqp_", 40, 40),
    (b"sqa_", 40, 40),
    (b"tfp_", 50, 70),
    (b"tk-us-", 48, 48),
    (b"tskey-", 20, 80),
    (b"trn:", 60, 200),
    (b"vercel_blob_rw_", 30, 80),
    (b"whsec_", 24, 80),
    (b"wpat_", 30, 60),
    (b"xai-", 70, 90),
    (b"xapp-", 30, 200),
    (b"xkeysib-", 70, 90),
    (b"xoxa-", 10, 100),
    (b"xoxb-", 20, 120),
    (b"xoxe-", 60, 200),
    (b"xoxe.xox", 100, 200),
    (b"xoxo-", 20, 120),
    (b"xoxp-", 20, 140),
    (b"xoxr-", 10, 100),
    (b"xoxs-", 20, 120),
    (b"ya29.", 30, 1200),
    (b"ysk_", 30, 60),
    (b"zpka_", 30, 60),
];

fn of_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-')
}

/// A key may begin with this word; where it ends, if it is one.
pub(super) fn word(scan: &mut Scan<'_>, word: &Word) -> Option<usize> {
    let after = scan.byte(word.end);
    // Words of prose end in a space or a comma and are short: most are done here.
    if !matches!(after, b'_' | b'-' | b'.' | b'~' | b':') && word.len() < 18 {
        return None;
    }
    let before = scan.byte_before(word.start);
    if matches!(before, b'_' | b'-') {
        return None;
    }
    if word.len() > 12 && scan.slice(word.start..word.start + 3) == b"eyJ" {
        return jwt(scan, word.start);
    }
    let rest = scan.slice(word.start..(word.start + 20).min(scan.text.len()));
    let first = rest.first()?;
    let known = |(prefix, ..): &&Prefix| prefix.first() == Some(first) && rest.starts_with(prefix);
    // The longest prefix that fits: `sk-` begins several.
    let (prefix, least, most) = PREFIXES.iter().filter(known).max_by_key(|(prefix, ..)| prefix.len())?;
    let begin = word.start + prefix.len();
    let dots = prefix.contains(&b'.') || matches!(*prefix, b"glpat-" | b"glrt-" | b"pat" | b"tfp_" | b"trn:");
    let more = |byte: u8| of_token(byte) || (dots && matches!(byte, b'.' | b'=' | b'+' | b'/' | b':'));
    let mut end = scan.run_of(begin, more);
    while end > begin && matches!(scan.byte(end - 1), b'.' | b'-' | b':') {
        end -= 1;
    }
    let mut length = end - begin;
    // A long key may be wrapped.
    if length < *least && scan.byte(end) == b'\n' {
        let next = scan.run_of(end + 1, |byte| byte == b' ');
        let more = scan.run_of(next, of_token);
        if length >= 8 && length + (more - next) >= *least {
            (length, end) = (length + (more - next), more);
        }
    }
    // A prefix of a few plain letters needs the exact length.
    let exact = prefix.iter().all(u8::is_ascii_alphanumeric);
    let fits = length >= *least && (if exact { length <= *most } else { length <= most.saturating_mul(2) });
    let body = scan.slice(begin..end);
    if !fits || !looks_random(body) {
        return None;
    }
    scan.add(kinds::API_KEY, word.start..end, 97);
    Some(end)
}

/// Whether characters look drawn by chance: enough different ones, and digits among letters or capitals in the middle.
fn looks_random(body: &[u8]) -> bool {
    let digits = body.iter().filter(|byte| byte.is_ascii_digit()).count();
    let letters = body.iter().filter(|byte| byte.is_ascii_alphabetic()).count();
    entropy(body) >= LEAST_ENTROPY && (digits >= 2 || mixed_case(body)) && letters > 0
}

/// Capitals after small letters and small letters after capitals, beyond what `CamelCase` has.
fn mixed_case(body: &[u8]) -> bool {
    let turns = body.windows(2).filter(|pair| {
        matches!(pair, [a, b] if (a.is_ascii_lowercase() && b.is_ascii_uppercase()) || (a.is_ascii_uppercase() && b.is_ascii_lowercase()))
    });
    turns.count() * 3 > body.len().min(24)
}

/// `eyJ….eyJ….signature` (RFC 7519), or the encrypted form with five parts.
fn jwt(scan: &mut Scan<'_>, start: usize) -> Option<usize> {
    let end = scan.run_of(start, |byte| of_token(byte) || matches!(byte, b'.' | b'='));
    let text = scan.slice(start..end);
    let mut parts = text.split(|byte| *byte == b'.');
    let (head, body) = (parts.next()?, parts.next()?);
    if head.len() < 16 || body.len() < 8 {
        return None;
    }
    scan.add(kinds::JWT, start..end, 98);
    Some(end)
}

/// Dashes stand at `at`: the head of a key in PEM or OpenSSH form. A key without its end goes on as far as base64 does.
pub(super) fn dashes(scan: &mut Scan<'_>, at: usize) -> Option<usize> {
    const HEAD: &[u8] = b"-----BEGIN ";
    let text = scan.slice(at..scan.text.len());
    if !text.starts_with(HEAD) {
        return None;
    }
    let line = text.iter().take(80).skip(HEAD.len()).position(|byte| *byte == b'-')? + HEAD.len();
    let name = text.get(HEAD.len()..line)?;
    memchr::memmem::find(name, b"PRIVATE KEY")?;
    let body = at + line + 5;
    let of_body = |byte: u8| byte.is_ascii_alphanumeric() || b"+/=\n\r\t ,:-\\\"".contains(&byte);
    let stop = scan.run_of(body, of_body);
    let close = memchr::memmem::find(scan.slice(body..stop), b"-----END ");
    let end = match close {
        Some(close) => {
            let tail = scan.run_of(body + close + 5, |byte| byte.is_ascii_uppercase() || byte == b' ');
            scan.run_of(tail, |byte| byte == b'-')
        }
        None => stop,
    };
    scan.add(kinds::PRIVATE_KEY, at..end, 99);
    Some(end)
}

/// A word that may announce a secret ended at `end`, in a name that ends at `name`; what follows may be the secret.
pub(super) fn label(scan: &mut Scan<'_>, meaning: Meaning, end: usize, name: usize) {
    if !meaning.has(Meaning::PASSWORD.or(Meaning::KEY)) {
        return;
    }
    let password = meaning.has(Meaning::PASSWORD);
    // The rest of the name: `API_KEY_PROD`, `passwordForDb`.
    let name_end = if scan.byte(name) == b'_' || name > end { scan.run_of(name, of_token) } else { name };
    if name_end - end > 24 {
        return;
    }
    let Some((start, stop, quoted)) = assigned(scan, name_end, password, meaning) else { return };
    let value = scan.slice(start..stop);
    if value.len() > LONGEST || is_stand_in(value) {
        return;
    }
    let found = if password { is_password(value, quoted) } else { is_key(value) };
    if let Some(confidence) = found {
        let kind = if password { kinds::PASSWORD } else { kinds::API_KEY };
        scan.add(kind, start..stop, confidence);
    }
}

/// The value behind `:`, `=`, `:=`, `=>`, `>` or, in a sentence, `is`: where it begins and ends, and whether it is in quotes.
fn assigned(scan: &Scan<'_>, from: usize, password: bool, meaning: Meaning) -> Option<(usize, usize, bool)> {
    let closing = scan.run_of(from, |byte| matches!(byte, b'"' | b'\'' | b'`' | b']' | b'*')).min(from + 3);
    let spaces = scan.run_of(closing, |byte| matches!(byte, b' ' | b'\t'));
    if spaces - closing > 24 {
        return None;
    }
    let mut at = scan.run_of(spaces, |byte| matches!(byte, b':' | b'=' | b'>' | b'|' | b'*')).min(spaces + 4);
    if at == spaces {
        let word = scan.run_of(spaces, |byte| byte.is_ascii_alphabetic());
        let verb = scan.slice(spaces..word);
        let is = matches!(verb, b"is" | b"ist" | b"est" | b"es" | b"was");
        // `Authorization: Bearer abc` and `IDENTIFIED BY 'abc'` have no sign.
        at = match (is, meaning.has(Meaning::KEY) && spaces > from, password) {
            (true, ..) => word,
            (false, true, _) => spaces,
            _ => return None,
        };
    }
    let begin = scan.run_of(at, |byte| matches!(byte, b' ' | b'\t')).min(at + 24);
    let quote = scan.byte(begin);
    if matches!(quote, b'"' | b'\'' | b'`') {
        let start = begin + 1;
        let stop = scan.run_of(start, |byte| byte != quote && byte != b'\n');
        return (scan.byte(stop) == quote && stop > start).then_some((start, stop, true));
    }
    let mut stop = scan.run_of(begin, |byte| {
        byte > b' ' && !matches!(byte, b'"' | b'\'' | b'`' | b'<' | b'>' | b',' | b';')
    });
    while stop > begin && matches!(scan.byte(stop - 1), b'.' | b')' | b']' | b'}') {
        stop -= 1;
    }
    (stop > begin).then_some((begin, stop, false))
}

/// Whether it only stands where a secret would: `<password>`, `${KEY}`, `****`, `your-key-here`, a call or a variable.
pub(super) fn is_stand_in(value: &[u8]) -> bool {
    const WORDS: [&[u8]; 14] = [
        b"your",
        b"example",
        b"changeme",
        b"placeholder",
        b"redacted",
        b"xxxx",
        b"process.env",
        b"os.environ",
        b"getenv",
        b"secrets.",
        b"undefined",
        b"dummy",
        b"insert",
        b"[masked",
    ];
    let lower = value.to_ascii_lowercase();
    let first = lower.first().copied().unwrap_or(0);
    let second = lower.get(1).copied().unwrap_or(0);
    let name = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'%');
    let variable = match first {
        b'$' => matches!(second, b'{' | b'(') || lower.iter().skip(1).all(name),
        b'%' => second == b'(' || (lower.len() > 2 && lower.last() == Some(&b'%') && lower.iter().all(name)),
        b'<' | b'{' | b'[' | b'(' => matches!(lower.last(), Some(b'>' | b'}' | b']' | b')')),
        _ => false,
    };
    variable
        || lower.iter().all(|byte| matches!(byte, b'*' | b'.' | b'x' | b'-' | b'_' | 0x80..))
        || WORDS.iter().any(|word| memchr::memmem::find(&lower, word).is_some())
        || memchr::memmem::find(&lower, b"()").is_some()
        || matches!(
            lower.as_slice(),
            b"password" | b"secret" | b"none" | b"null" | b"true" | b"false" | b"string" | b"required"
        )
}

fn is_password(value: &[u8], quoted: bool) -> Option<u8> {
    if !(6..=128).contains(&value.len()) || (value.contains(&b' ') && !quoted) {
        return None;
    }
    // A sentence in quotes is a message about passwords.
    if value.iter().filter(|byte| **byte == b' ').count() > 0 {
        return None;
    }
    let letters = value.iter().filter(|byte| byte.is_ascii_alphabetic()).count();
    let digits = value.iter().filter(|byte| byte.is_ascii_digit()).count();
    let signs = value
        .iter()
        .filter(|byte| {
            byte.is_ascii_punctuation() && !matches!(byte, b'.' | b'-' | b'_' | b'/' | b'(' | b')')
        })
        .count();
    match (letters, digits, signs) {
        (1.., 1.., _) => Some(88),
        (1.., _, 1..) if quoted || signs > 1 => Some(80),
        (6.., 0, 0) if mixed_case(value) => Some(75),
        (0, 6.., _) if signs == 0 && quoted => Some(70),
        _ => None,
    }
}

fn is_key(value: &[u8]) -> Option<u8> {
    let body =
        value.iter().all(|byte| of_token(*byte) || matches!(byte, b'.' | b'/' | b'+' | b'=' | b'~' | b':'));
    let path = value.starts_with(b"/") || memchr::memmem::find(value, b"//").is_some();
    if !(16..=LONGEST).contains(&value.len()) || !body || path || !looks_random(value) || entropy(value) < 3.2
    {
        return None;
    }
    let uuid = value.len() == 36 && value.iter().filter(|byte| **byte == b'-').count() == 4;
    Some(if uuid { 72 } else { 85 })
}
