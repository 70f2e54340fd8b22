use super::*;

/// What is found in a text, as `kind=what`.
fn found(text: &str) -> Vec<String> {
    let findings = Detector::default().find(text);
    findings.iter().map(|finding| format!("{}={}", finding.kind, &text[finding.span.clone()])).collect()
}

#[track_caller]
fn check(text: &str, expected: &[&str]) {
    assert_eq!(found(text), expected, "{text}");
}

#[test]
fn addresses_of_people_and_machines() {
    check(
        "Write to anna.muster@example.org, or <b@mail.example.co.uk>.",
        &["email=anna.muster@example.org", "email=b@mail.example.co.uk"],
    );
    check("mailto:anna@example.org?subject=x", &["email=anna@example.org"]);
    check("wrapped: anna@\nexample.org", &["email=anna@\nexample.org"]);
    check("icon@2x.png and git@example.org:repo and @decorator a@b", &[]);
    check(
        "host 192.0.2.17 and 2001:db8::8a2e:370:7334.",
        &["ip-address=192.0.2.17", "ip-address=2001:db8::8a2e:370:7334"],
    );
    check("localhost 127.0.0.1, version 10.20.30.40, 1.2.3.4, at 12:30:45, std::fmt::Write", &[]);
    check(
        "mac 00:00:5e:00:53:af or 0000.5E00.53AF",
        &["mac-address=00:00:5e:00:53:af", "mac-address=0000.5E00.53AF"],
    );
    check("MAC ee:e2:d6:be:b2:9a", &["mac-address=ee:e2:d6:be:b2:9a"]);
    check("at 47.37689, 8.541694 today", &["coordinates=47.37689, 8.541694"]);
    check("40°26′46″N 79°58′56″W", &["coordinates=40°26′46″N 79°58′56″W"]);
    check("it was 47.3, 8.5 and 1.5 % of 2.5", &[]);
}

#[test]
fn phones_in_international_and_national_form() {
    check("call +41 44 668 18 00 now", &["phone=+41 44 668 18 00"]);
    check("+46 (0)8 928 571 38 fax", &["phone=+46 (0)8 928 571 38"]);
    check("(212) 555-0142 or 212-555-0143 x12", &["phone=(212) 555-0142", "phone=212-555-0143 x12"]);
    check("Phone: 60-56-85-91", &["phone=60-56-85-91"]);
    check("Tel. 030 12345678", &["phone=030 12345678"]);
    check("03.93.92.16.85", &["phone=03.93.92.16.85"]);
    check("416 60 039 office", &["phone=416 60 039"]);
    check("from 2019 2020 2021 to 2024-01-02 12:00, 1,234,567 of 100 000 000, 3-4-5", &[]);
    check("order 123-456-7890123, id 5551234567, rows 10 20 30 40", &[]);
}

#[test]
fn cards_need_luhn_and_an_issuer() {
    check("4111 1111 1111 1111", &["payment-card=4111 1111 1111 1111"]);
    check("card 378282246310005!", &["payment-card=378282246310005"]);
    check("card number 630427373398", &["payment-card=630427373398"]);
    check("My card 4131034282458809939 expired", &["payment-card=4131034282458809939"]);
    check("order 4111 1111 1111 1111", &["payment-card=4111 1111 1111 1111"]);
    check("4111 1111 1111 1112 and 1234567890123452, order 4111111111111111", &[]);
}

#[test]
fn ibans_need_their_checksum() {
    check("to DE89 3704 0044 0532 0130 00 please", &["iban=DE89 3704 0044 0532 0130 00"]);
    check("gb82west12345698765432", &["iban=gb82west12345698765432"]);
    check("DE89 3704 0044\n0532 0130 00", &["iban=DE89 3704 0044\n0532 0130 00"]);
    check("CH93 0076 2011 6238 5295 7", &["iban=CH93 0076 2011 6238 5295 7"]);
    check("DE88 3704 0044 0532 0130 00", &[]);
}

#[test]
fn national_ids_of_many_countries() {
    for (text, id) in [
        ("078-05-1120", "078-05-1120"),
        ("CPF 529.982.247-25", "529.982.247-25"),
        ("fødselsnummer 01010750160", "01010750160"),
        ("BSN 111222333", "111222333"),
        ("AHV 756.9217.0769.85", "756.9217.0769.85"),
        ("DNI 12345678Z", "12345678Z"),
        ("NIE X1234567L", "X1234567L"),
        ("RSSMRA85T10A562S", "RSSMRA85T10A562S"),
        ("NINO AB123456C", "AB123456C"),
        ("her number AB 12 34 56 C is", "AB 12 34 56 C"),
        ("NHS 943 476 5919", "943 476 5919"),
        ("PESEL 44051401359", "44051401359"),
        ("henkilötunnus 131052-308T", "131052-308T"),
        ("personnummer 811228-9874", "811228-9874"),
        ("CPR 070761-4285", "070761-4285"),
        ("NIR 2 55 08 14 168 025 38", "2 55 08 14 168 025 38"),
        ("Aadhaar 2341 2341 2346", "2341 2341 2346"),
        ("11010519491231002X", "11010519491231002X"),
        ("S1234567D", "S1234567D"),
        ("HKID A123456(3)", "A123456(3)"),
        ("RUT 12.345.678-5", "12.345.678-5"),
        ("kimlik 10000000146", "10000000146"),
        ("rijksregisternummer 85.07.30-033.28", "85.07.30-033.28"),
        ("ID number 8001015009087", "8001015009087"),
        ("SIN 046 454 286", "046 454 286"),
        ("OIB 69435151530", "69435151530"),
        ("PPSN 1234567T", "1234567T"),
        ("900101-1234567", "900101-1234567"),
    ] {
        check(text, &[&format!("national-id={id}")]);
    }
    check("CPF 529.982.247-26, DNI 12345678A, NINO GB123456A, 000-12-3456, 666-12-3456", &[]);
}

#[test]
fn numbers_of_taxes_passports_patients_cars_and_wallets() {
    check("EIN: 71-8797987", &["tax-number=71-8797987"]);
    check("VAT DE136695976", &["tax-number=DE136695976"]);
    check("CNPJ 11.222.333/0001-81", &["tax-number=11.222.333/0001-81"]);
    check("passport no. C01X00T47", &["passport=C01X00T47"]);
    check("Passport: 123456789", &["passport=123456789"]);
    check("(MRN: MRN-4016436)", &["medical-record=MRN-4016436"]);
    check("Kennzeichen B-AB 1234, plate AB12 CDE", &["licence-plate=AB12 CDE"]);
    check("my driver's license number is F162823540116", &["driving-licence=F162823540116"]);
    check("born on 12 March 1980", &["date-of-birth=12 March 1980"]);
    check("date of birth: 1980-03-12", &["date-of-birth=1980-03-12"]);
    check("DOB 3/12/80, born March 12, 1980", &["date-of-birth=3/12/80", "date-of-birth=March 12, 1980"]);
    check("geboren am 12. März 1980", &["date-of-birth=12. März 1980"]);
    check("the meeting is on 12 March 1980", &[]);
    check(
        "bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t4",
        &["crypto-address=bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t4"],
    );
    check("1A1zP1eP5QGefi2DMPTfTL5SLmv7DivfNa", &["crypto-address=1A1zP1eP5QGefi2DMPTfTL5SLmv7DivfNa"]);
    check(
        "0x52908400098527886E0F7030069857D2E4169EE7",
        &["crypto-address=0x52908400098527886E0F7030069857D2E4169EE7"],
    );
}

/// Put together here so that no scanner takes this file for one that leaks.
fn key(prefix: &str, length: usize) -> String {
    let body = "a8Kd03LmQz91XvBn27RtYpWc64HsJf5EgUo".repeat(8);
    format!("{prefix}{}", &body[..length])
}

#[test]
fn keys_of_services_are_known_by_their_prefixes() {
    for key in [
        key("sk-", 48),
        key("sk-proj-", 60),
        key("ghp_", 36),
        key("github_pat_", 82),
        key("glpat-", 20),
        key("xoxb-", 40),
        key("hf_", 34),
        key("npm_", 36),
        key("AIza", 35),
        key("SG.", 66),
        key("dop_v1_", 64),
        key("sk_live_", 24),
        key("AGE-SECRET-KEY-1", 58),
        "AKIA".to_owned() + "IOSFODNN7Q2XYZ34",
    ] {
        check(&format!("use {key} here"), &[&format!("api-key={key}")]);
        check(&format!("{{\"x\":\"{key}\"}}"), &[&format!("api-key={key}")]);
    }
    check(
        "sk-learn is a library, npm_config_registry, hf_hub_download, sk-your-key-here-please-replace",
        &[],
    );
    let jwt =
        "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9P";
    check(&format!("Bearer {jwt}"), &[&format!("jwt={jwt}")]);
}

#[test]
fn secrets_are_known_by_what_stands_in_front() {
    check("DB_PASS = \"KfX3813SO9l\"", &["password=KfX3813SO9l"]);
    check("dbPass: \"%F$LywsZIR5EPf\",", &["password=%F$LywsZIR5EPf"]);
    check("The password is Tr0ub4dor&3.", &["password=Tr0ub4dor&3"]);
    check("<password>hunter2x</password>", &["password=hunter2x"]);
    check("client_secret=8f3kd93jf0s8dmf93kfo2m", &["api-key=8f3kd93jf0s8dmf93kfo2m"]);
    check("apiKey: 'Zk3o9fQ2mVx7tLp1Bc8n'", &["api-key=Zk3o9fQ2mVx7tLp1Bc8n"]);
    check(
        "postgres://app:s3cretpw@db.example.org/main",
        &["connection-string=postgres://app:s3cretpw@db.example.org/main"],
    );
    for nothing in [
        "password: must contain 8 characters",
        "password = os.environ['X']",
        "password: ${DB_PASSWORD}",
        "password: ********",
        "password = <password>",
        "token: string",
        "The key is to begin early",
        "key: value",
        "primary_key=True",
        "postgres://app:password@localhost/x",
        "https://example.org/a:b@c",
        "let token = next_token(input);",
        "\"password\": \"Passwort\"",
        "the secret of success is work",
    ] {
        check(nothing, &[]);
    }
    let pem = |body: &str| {
        format!("-----BEGIN RSA {}-----\n{body}\n-----END RSA {}-----", "PRIVATE KEY", "PRIVATE KEY")
    };
    let block = pem("MIIEpAIBAAKCAQEA75kd\nabc+/=");
    check(&format!("key:\n{block}\nend"), &[&format!("private-key={block}")]);
}

#[test]
fn markings_are_told_from_prose() {
    check("CONFIDENTIAL\nBudget 2031", &["marked-confidential=CONFIDENTIAL"]);
    check("Confidential\n\nDear all", &["marked-confidential=Confidential"]);
    check("Attorney-Client Privileged", &["marked-confidential=Privileged"]);
    check("TLP:AMBER+STRICT", &["marked-confidential=TLP:AMBER+STRICT"]);
    check("TLP:RED and TLP:GREEN", &["marked-restricted=TLP:RED"]);
    check("TOP SECRET//NOFORN", &["marked-restricted=SECRET"]);
    check("Classification: Restricted", &["marked-restricted=Restricted"]);
    check("Strictly confidential", &["marked-confidential=confidential"]);
    check("STRENG VERTRAULICH", &["marked-confidential=VERTRAULICH"]);
    for prose in [
        "It is confidential, and the secret is that access is restricted to privileged users.",
        "The attorney-client privilege protects communications.",
        "Confidential information may be shared with named people when the law asks for it.",
        "a secret",
    ] {
        check(prose, &[]);
    }
}

#[test]
fn people_firms_and_addresses() {
    check("Dear Anna Muster, Mr. Xqzv will come.", &["person=Anna Muster", "person=Xqzv"]);
    check("Name: Kenji Watanabe", &["person=Kenji Watanabe"]);
    check("Maria de la Cruz and Peter van Dijk", &["person=Maria de la Cruz", "person=Peter van Dijk"]);
    check(
        "at 6642 Elm Boulevard, Fairview, NY 36342 today",
        &["address=6642 Elm Boulevard, Fairview, NY 36342"],
    );
    check("Bahnhofstrasse 12, 8001 Zurich", &["address=Bahnhofstrasse 12, 8001"]);
    check("29 Rue de Tanger", &["address=29 Rue de Tanger"]);
    check("P.O. Box 104", &["address=P.O. Box 104"]);
    check(
        "Shepherd Ltd. and Stark Industries",
        &["organisation=Shepherd Ltd.", "organisation=Stark Industries"],
    );
    for prose in [
        "The Street was empty.",
        "It may rain in May.",
        "I will ask him to mark it.",
        "The United States Supreme Court",
        "Five Main Points",
    ] {
        check(prose, &[]);
    }
}

#[test]
fn copies_in_base64_are_found() {
    check("data: eyJtYWlsIjoiYW5uYUBleGFtcGxlLm9yZyJ9 end", &["email=eyJtYWlsIjoiYW5uYUBleGFtcGxlLm9yZyJ9"]);
    check(
        "W: SUJBTiBERTg5IDM3MDQgMDA0NCAwNTMyIDAxMzAgMDA=",
        &["iban=SUJBTiBERTg5IDM3MDQgMDA0NCAwNTMyIDAxMzAgMDA="],
    );
    check("crates/policy/src/sensitivity/vocabulary and internationalization", &[]);
}

#[test]
fn disguises_hide_nothing() {
    check("４１１１ １１１１ １１１１ １１１１", &["payment-card=４１１１ １１１１ １１１１ １１１１"]);
    check("DE89\u{200b}370400440532\u{200d}013000", &["iban=DE89\u{200b}370400440532\u{200d}013000"]);
    check("q=anna%40example.org&x=1", &["email=anna%40example.org"]);
    check("аnnа@ехample.org", &["email=аnnа@ехample.org"]);
    check(r#"{"a":"x\nanna@example.org\n"}"#, &["email=anna@example.org"]);
    check("电话13812345678。", &["phone=13812345678"]);
}

proptest::proptest! {
    #[test]
    fn findings_are_in_order_apart_and_between_characters(text in r"[a-z0-9@.+\-: /=\n%éЖ４\u{200b}(){}_A-Z]{0,200}") {
        let mut end = 0;
        for finding in Detector::default().find(&text) {
            assert!(finding.span.start >= end && finding.span.end > finding.span.start);
            assert!(text.get(finding.span.clone()).is_some());
            end = finding.span.end;
        }
    }
}
