"""The owner's rule about addresses of images, by tables."""

from __future__ import annotations

import pytest

from locum.domain.image_urls import PUBLIC, ImageURLs

DATA = "data:image/png;base64,iVBORw0KGgo="
EXPECTED = "Expected a base64-encoded data URL with an image MIME type"


@pytest.mark.parametrize(
    "url",
    [
        DATA,
        "https://example.com/cat.png",
        "http://example.com",
        "https://images.example.co.uk:8443/a/b.png?size=2#top",
        "https://example.com?mail=someone",
        "https://example.com/of@someone.png",
        "https://example.com./cat.png",
        "https://1password.example/cat.png",
        "https://xn--mnchen-3ya.example/cat.png",
        "http://8.8.8.8/cat.png",
        "http://[2606:4700::1111]:80/cat.png",
        "https://local.example.com/cat.png",
        "https://notlocalhost.com/cat.png",
    ],
)
def test_public_addresses_are_accepted_by_default(url: str) -> None:
    assert PUBLIC.refusal(url) is None


@pytest.mark.parametrize(
    "host",
    [
        # loopback
        *("127.0.0.1", "127.0.0.1.", "127.255.0.9", "127.1", "127.0.1", "2130706433", "017700000001", "0177.0.0.1"),
        *("0x7f000001", "0x7F.0.0.1", "0x7f.1", "127.0.0.0x1", "127.0.0.01", "0", "0.0.0.0", "0x", "1.2.3.4.5"),
        *(
            "[::1]",
            "[::]",
            "[0:0:0:0:0:0:0:1]",
            "[::ffff:127.0.0.1]",
            "[::ffff:7f00:1]",
            "[::127.0.0.1]",
            "[fe80::1%25eth0]",
        ),
        # private, link-local, carrier, multicast, documentation, reserved
        *("10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.1.1", "169.254.1.1", "100.64.0.1", "224.0.0.1"),
        *(
            "198.18.0.1",
            "192.0.2.1",
            "240.0.0.1",
            "255.255.255.255",
            "[fd12::1]",
            "[fe80::1]",
            "[fec0::1]",
            "[ff02::1]",
        ),
        *("[64:ff9b::7f00:1]", "[64:ff9b:1::1]", "[2002:7f00:1::]", "[2001:0:7f00:1::]", "[2001:db8::1]"),
        # metadata services of clouds
        *(
            "169.254.169.254",
            "169.254.170.2",
            "0xa9fea9fe",
            "2852039166",
            "[fd00:ec2::254]",
            "[::ffff:169.254.169.254]",
        ),
        *("100.100.100.200", "168.63.129.16", "192.0.0.192", "metadata.google.internal", "metadata"),
        # names of private networks
        *(
            "localhost",
            "LOCALHOST",
            "localhost.",
            "a.localhost",
            "localhost.localdomain",
            "ip6-localhost",
            "printer.local",
        ),
        *("host.docker.internal", "redis", "db.default.svc", "db.default.svc.cluster.local", "nas.home.arpa", "x.lan"),
        *("wiki.corp", "intranet", "a.intranet", "a.private", "router.home"),
        # what clients may read in another way
        *("127。0。0。1", "①②⑦.0.0.1", "%31%32%37.0.0.1", "localhost%00.example.com", "a..com", ".", "", "[::1", "::1"),
        *("example.com:port", "example.com:123456", "ｌocalhost", "[example.com]", "[127.0.0.1]", "exam\tple.com"),
    ],
)
@pytest.mark.parametrize("form", ["http://{}/cat.png", "https://{}:8080", "http://{}?x=1", "http://{}#x"])
def test_private_addresses_are_refused_in_every_spelling(host: str, form: str) -> None:
    assert PUBLIC.refusal(form.format(host))


@pytest.mark.parametrize(
    "url",
    [
        "http://user:password@example.com/",
        "http://user@example.com/",
        "http://@example.com/",
        "http://example.com@127.0.0.1/",
        "http://example.com#@127.0.0.1/",
        "http://example.com?@127.0.0.1/",
        "http://example.com\\@127.0.0.1/",
        "http:\\\\127.0.0.1/",
        "http:///127.0.0.1/",
        "http:127.0.0.1/",
        "http:/127.0.0.1/",
        "//127.0.0.1/",
        "file:///etc/passwd",
        "gopher://example.com/",
        "data:text/html,<img>",
        "",
    ],
)
@pytest.mark.parametrize("setting", ["public", "example.com,127.0.0.1", "data", "off"])
def test_passwords_and_other_schemes_are_refused_by_every_rule(url: str, setting: str) -> None:
    assert ImageURLs.parse(setting).refusal(url)


@pytest.mark.parametrize(
    ("setting", "accepted", "refused"),
    [
        ("off", [], [DATA, "https://example.com/", "http://127.0.0.1/"]),
        ("data", [DATA], ["https://example.com/", "http://127.0.0.1/"]),
        ("example.com", [DATA, "https://EXAMPLE.com./", "http://example.com:81/"], ["https://a.example.com/"]),
        ("*.example.com", ["https://a.b.example.com/"], ["https://example.com/", "https://aexample.com/"]),
        ("example.com:443", ["https://example.com/"], ["http://example.com/", "https://example.com:8443/"]),
        ("localhost:9000", ["http://localhost:9000/"], ["http://localhost/", "http://127.0.0.1:9000/"]),
        ("Public, LocalHost.", ["https://example.com/", "http://localhost/"], ["http://127.0.0.1/"]),
        ("10.0.0.7", ["http://10.0.0.7:80/"], ["http://10.0.0.8/", "http://0xa000007/", "http://example.com/"]),
        ("fd00::7", ["http://[fd00:0::7]/"], ["http://[fd00::8]/"]),
        ("[fd00::7]:90", ["http://[fd00::7]:90/"], ["http://[fd00::7]/"]),
    ],
)
def test_the_owner_chooses_what_is_accepted(setting: str, accepted: list[str], refused: list[str]) -> None:
    rule = ImageURLs.parse(setting)
    assert [url for url in accepted if rule.refusal(url)] == []
    assert [url for url in refused if not rule.refusal(url)] == []


@pytest.mark.parametrize(
    "setting",
    ["", ",", "off,data", "off,example.com", "http://example.com", "user@x", "*", "a..b", "127.1", "x:y", "a b"],
)
def test_a_rule_that_is_none_is_refused(setting: str) -> None:
    with pytest.raises(ValueError, match="."):
        ImageURLs.parse(setting)


@pytest.mark.parametrize(
    ("setting", "url", "words"),
    [
        (
            "public",
            "http://10.0.0.1/a.png",
            f"Images from the host '10.0.0.1' are not allowed. {EXPECTED}, or a URL of a public host",
        ),
        (
            "data",
            "https://example.com/a.png",
            f"Images from the host 'example.com' are not allowed. {EXPECTED}",
        ),
        (
            "public,10.0.0.7:90,*.example.lan",
            "http://10.0.0.7/a.png",
            f"Images from the host '10.0.0.7' are not allowed. {EXPECTED}, "
            "or a URL of a public host, or the host '10.0.0.7:90', or the host '*.example.lan'",
        ),
        ("public", "https://a:b@example.com/", "A URL with a user name or password is not allowed"),
        (
            "off",
            DATA,
            "This server accepts no image URLs. Expected an 'image_file' part with an uploaded file instead",
        ),
    ],
)
def test_a_refusal_says_what_is_wrong_and_what_is_allowed(setting: str, url: str, words: str) -> None:
    assert ImageURLs.parse(setting).refusal(url) == words
