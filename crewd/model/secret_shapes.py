"""What the keys of providers look like: prefixes that are theirs alone, and what follows.

The prefixes, alphabets and lengths are facts from the rules of gitleaks (https://github.com/gitleaks/gitleaks, file
config/gitleaks.toml at commit b58d3f1 of 2026-07-22), a list that is maintained for finding secrets in repositories. Lengths
are given here as a least and a most, so that a key of a newer form is still found. A rule that needs a name beside the value
(`adafruit_key = ...`) is not here: see `redact`.

Tests: tests/model/test_redact.py.
"""

from __future__ import annotations

SHAPES: tuple[tuple[str, str], ...] = (
    ("sk-", r"sk-[A-Za-z0-9_-]{16,256}"), ("hf_", r"hf_[A-Za-z0-9]{20,64}"), ("api_org_", r"api_org_[A-Za-z]{20,64}"),
    ("pplx-", r"pplx-[A-Za-z0-9]{32,64}"), ("gsk_", r"gsk_[A-Za-z0-9]{32,64}"), ("xai-", r"xai-[A-Za-z0-9]{32,128}"),
    ("ghp_", r"ghp_[A-Za-z0-9]{20,255}"), ("gho_", r"gho_[A-Za-z0-9]{20,255}"), ("ghu_", r"ghu_[A-Za-z0-9]{20,255}"),
    ("ghs_", r"ghs_[A-Za-z0-9]{20,255}"), ("ghr_", r"ghr_[A-Za-z0-9]{20,255}"),
    ("github_pat_", r"github_pat_[A-Za-z0-9_]{20,255}"), ("gr1348941", r"GR1348941[A-Za-z0-9_-]{20,64}"),
    ("glpat-", r"glpat-[A-Za-z0-9_.-]{16,310}"), ("glptt-", r"glptt-[0-9a-f]{40}"), ("gldt-", r"gldt-[A-Za-z0-9_-]{20,64}"),
    ("glrt-", r"glrt-[A-Za-z0-9_.-]{20,310}"), ("glcbt-", r"glcbt-[A-Za-z0-9_-]{20,64}"),
    ("glsoat-", r"glsoat-[A-Za-z0-9_-]{20,64}"), ("gloas-", r"gloas-[A-Za-z0-9_-]{40,128}"),
    ("glagent-", r"glagent-[A-Za-z0-9_-]{40,64}"), ("glft-", r"glft-[A-Za-z0-9_-]{20,64}"),
    ("npm_", r"npm_[A-Za-z0-9]{20,64}"), ("pypi-", r"pypi-(?:AgE[A-Za-z0-9_-]{16,1000}|[A-Za-z0-9_-]{50,1000})"),
    ("rubygems_", r"rubygems_[a-f0-9]{48}"),
    ("akcp", r"AKCp[A-Za-z0-9]{60,80}"), ("sgp_", r"sgp_(?:[a-fA-F0-9]{16}_|local_)?[a-fA-F0-9]{40}"),
    ("akia", r"AKIA[0-9A-Z]{16}(?![0-9A-Za-z])"), ("asia", r"ASIA[0-9A-Z]{16}(?![0-9A-Za-z])"),
    ("abia", r"ABIA[0-9A-Z]{16}(?![0-9A-Za-z])"), ("acca", r"ACCA[0-9A-Z]{16}(?![0-9A-Za-z])"),
    ("absk", r"ABSK[A-Za-z0-9+/]{109,269}"), ("bedrock-api-key-", r"bedrock-api-key-[A-Za-z0-9+/=_.-]{20,1024}"),
    ("aiza", r"AIza[A-Za-z0-9_-]{30,64}"), ("ya29.", r"ya29\.[A-Za-z0-9_.-]{20,1024}"),
    ("gocspx-", r"GOCSPX-[A-Za-z0-9_-]{20,64}"), ("ltai", r"LTAI[A-Za-z0-9]{20}(?![0-9A-Za-z])"),
    ("dop_v1_", r"dop_v1_[a-f0-9]{64}"), ("doo_v1_", r"doo_v1_[a-f0-9]{64}"), ("dor_v1_", r"dor_v1_[a-f0-9]{64}"),
    ("hrku-aa", r"HRKU-AA[0-9A-Za-z_-]{50,64}"), ("fo1_", r"fo1_[A-Za-z0-9_-]{43}"), ("fm2_", r"fm2_[A-Za-z0-9+/]{100,1024}"),
    ("pul-", r"pul-[a-f0-9]{40}"), ("dapi", r"dapi[a-f0-9]{32}(?:-\d)?"),
    ("pscale_", r"pscale_(?:tkn|oauth|pw)_[A-Za-z0-9_=.-]{32,64}"), ("hvs.", r"hvs\.[A-Za-z0-9_-]{20,120}"),
    ("hvb.", r"hvb\.[A-Za-z0-9_-]{100,300}"), ("sha256~", r"sha256~[A-Za-z0-9_-]{43}"),
    ("dt0c01.", r"dt0c01\.[A-Za-z0-9]{24}\.[A-Za-z0-9]{64}"), ("glsa_", r"glsa_[A-Za-z0-9]{32}_[A-Fa-f0-9]{8}"),
    ("glc_", r"glc_[A-Za-z0-9+/]{32,400}"), ("pnu_", r"pnu_[A-Za-z0-9]{36}"), ("dp.pt.", r"dp\.pt\.[A-Za-z0-9]{43}"),
    ("v1.0-", r"v1\.0-[a-f0-9]{24}-[a-f0-9]{146}"), ("xox", r"xox[abeoprs]-[A-Za-z0-9-]{10,255}"),
    ("xapp-", r"xapp-\d-[A-Za-z0-9-]{10,255}"), ("xoxe.", r"xoxe\.xox[bp]-\d-[A-Za-z0-9]{100,255}"),
    ("hooks.slack.com/", r"hooks\.slack\.com/(?:services|workflows|triggers)/[A-Za-z0-9+/]{30,64}"),
    (".webhook.office.com/", r"\.webhook\.office\.com/webhookb2/[A-Za-z0-9@/-]{60,255}"),
    ("sg.", r"SG\.[A-Za-z0-9_-]{16,64}\.[A-Za-z0-9_-]{16,64}"), ("xkeysib-", r"xkeysib-[a-f0-9]{64}-[A-Za-z0-9]{16}"),
    ("lin_api_", r"lin_api_[A-Za-z0-9]{40}"), ("ntn_", r"ntn_[A-Za-z0-9]{40,64}"),
    ("pmak-", r"PMAK-[A-Fa-f0-9]{24}-[A-Fa-f0-9]{34}"), ("sntrys_", r"sntrys_[A-Za-z0-9+/=_]{40,500}"),
    ("sntryu_", r"sntryu_[a-f0-9]{64}"), ("atatt3", r"ATATT3[A-Za-z0-9_=-]{100,255}"),
    ("ops_eyj", r"ops_eyJ[A-Za-z0-9+/]{250,2048}"), ("age-secret-key-1", r"AGE-SECRET-KEY-1[A-Z0-9]{58}"),
    ("sk_live_", r"sk_live_[A-Za-z0-9]{10,128}"), ("sk_test_", r"sk_test_[A-Za-z0-9]{10,128}"),
    ("rk_live_", r"rk_live_[A-Za-z0-9]{10,128}"), ("rk_test_", r"rk_test_[A-Za-z0-9]{10,128}"),
    ("pk_live_", r"pk_live_[A-Za-z0-9]{10,128}"), ("whsec_", r"whsec_[A-Za-z0-9+/=]{20,128}"),
    ("r8_", r"r8_[A-Za-z0-9]{36,40}"), ("apa91b", r"APA91b[A-Za-z0-9_-]{100,200}"),
    ("discord.com/api/webhooks/", r"discord\.com/api/webhooks/\d{15,22}/[A-Za-z0-9_-]{60,80}"),
    ("discordapp.com/api/webhooks/", r"discordapp\.com/api/webhooks/\d{15,22}/[A-Za-z0-9_-]{60,80}"),
    ("sq0atp-", r"sq0atp-[A-Za-z0-9_-]{22,60}"), ("shpat_", r"shpat_[a-fA-F0-9]{32}"), ("shpss_", r"shpss_[a-fA-F0-9]{32}"),
    ("shpca_", r"shpca_[a-fA-F0-9]{32}"), ("shppa_", r"shppa_[a-fA-F0-9]{32}"), ("ezak", r"EZAK[A-Za-z0-9]{54}"),
    ("eyj", r"eyJ[A-Za-z0-9_-]{10,4096}\.[A-Za-z0-9_-]{10,8192}\.[A-Za-z0-9_-]{5,2048}"),
)  # fmt: skip
"""The lower-case word by which a shape is found, and the shape. The word is at the shape's beginning."""
