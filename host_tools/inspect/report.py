"""An `inspect` result as short, aligned lines for a person."""

from typing import Any

from host_tools.certinfo import printable

_WIDEST = 400  # a hostile name may be very long


def text(result: dict[str, Any]) -> str:
    """All of it. Nothing in it can disturb a terminal."""
    target = result["target"]
    name = "" if target["name"] == target["host"] else f", asked for {target['name']}"
    lines = [f"{target['host']}:{target['port']} ({target['address']}{name})"]
    lines += [*_connection(result["connection"]), "", *_chain(result), "", *_verdicts(result), "", *_needs(result)]
    lines += _breaks(result)
    return "\n".join(printable(line[:_WIDEST]) for line in lines)


def _row(label: str, value: str) -> str:
    return f"{label:<16} {value}"


def _connection(facts: dict[str, Any]) -> list[str]:
    tickets = facts["tickets"]
    group = f" {facts['group']}" if facts["group"] else ""
    rows = [
        _row("protocol", f"{facts['protocol']}  {facts['cipher']}"),
        _row("key exchange", f"{facts['key_exchange']}{group}"),
        _row("signature", facts["signature"] or "unknown"),
        _row("ALPN", f"{facts['alpn'] or 'none'} (offered {', '.join(facts['alpn_offered']) or 'none'})"),
        _row("tickets", "unknown" if tickets is None else f"yes ({tickets})" if tickets else "no"),
        _row("client cert", _client_certificate(facts)),
        _row("handshake", f"{facts['bytes_sent']} B out, {facts['bytes_received']} B in, {facts['milliseconds']} ms"),
    ]
    if facts["fault"]:
        rows.append(_row("ended by", f"{facts['fault']['code']}: {facts['fault']['fact']}"))
    return rows


def _client_certificate(facts: dict[str, Any]) -> str:
    if facts["requires_client_certificate"]:
        return "required (mutual TLS)"
    return "asked for" if facts["asks_client_certificate"] else "not asked for"


def _chain(result: dict[str, Any]) -> list[str]:
    lines = ["chain"]
    for depth, cert in enumerate(result["chain"]):
        lines += _certificate(cert, "  " + "   " * depth)
    if result["extra"]:
        lines.append("sent, not needed")
        for cert in result["extra"]:
            lines += _certificate(cert, "  ")
    if result["disordered"]:
        lines.append("the certificates were not sent in order (leaf first, each followed by its issuer)")
    return lines


def _certificate(cert: dict[str, Any], indent: str) -> list[str]:
    first = f"{indent}{cert['role']}: {cert['subject'] or '(no subject)'}"
    if "key" not in cert:
        return [first + f", {cert['der_bytes']} B, cannot be read"]
    names = [*cert["dns"], *cert["ips"]]
    more = f" and {len(names) - 6} more" if len(names) > 6 else ""
    lines = [first]
    if names:
        lines.append(f"{indent}  names {', '.join(names[:6])}{more}")
    left = cert["days_left"]
    days = f"{left} days left" if left >= 0 else f"ended {-left} days ago"
    lines.append(
        f"{indent}  {cert['key']}, signed {cert['signature']}, "
        f"{cert['not_before'][:10]} to {cert['not_after'][:10]} ({days}), {cert['der_bytes']} B"
    )
    return lines


def _verdicts(result: dict[str, Any]) -> list[str]:
    openssl, policy, name = result["openssl"], result["policy"], result["name"]
    why = "; ".join(f"{row['what']} (depth {row['depth']})" for row in openssl["why"][:2])
    rows = [
        _row("OpenSSL", f"good, against {result['store']}" if openssl["ok"] else f"FAIL: {why}"),
        _row("board policy", "good" if policy["ok"] else f"FAIL: {policy['code']}: {policy['what']}; {policy['fact']}"),
        _row("name", f"{name['asked']}: {'matches ' + name['why'] if name['ok'] else 'NO: ' + name['why']}"),
    ]
    if not policy["ok"]:
        rows.append(_row("try", policy["fix"]))
    return rows


def _needs(result: dict[str, Any]) -> list[str]:
    lines = ["what your board needs"]
    root = result["root"]
    if root:
        lines.append(_row("  root", f"{root['subject']}"))
        lines.append(_row("", f"sha256 {root['sha256']}"))
        size = f"{root['der_bytes']} B DER"
        size += f", {root['module_bytes']} B as a cert module" if root["module_bytes"] else ""
        lines.append(_row("  on flash", size))
        if root["refused"]:
            lines.append(_row("  but", root["refused"]))
        for other in root["successors"]:
            lines.append(_row("  next root", f"{other['label']}, to {other['not_after'][:10]}, {other['der_bytes']} B"))
        lines.append(_row("  get it", _embed(result)))
    else:
        lines.append(_row("  root", "none found in " + result["store"]))
    missing = result["missing"]
    if missing:
        where = f", published at {missing['url']}" if missing["url"] else ""
        lines.append(_row("  missing", f"the certificate of '{missing['issuer']}'{where}"))
    board = result["board_connection"]
    if board["served"]:
        lines.append(_row("  served as", f"{board['protocol']}  {board['cipher']}  {board['group'] or ''}".rstrip()))
        total = f"{board['bytes_sent']} B out, {board['bytes_received']} B in"
        lines.append(_row("  handshake", f"{total}; certificates {board['certificate_message']} B of at most 16384"))
    if board["another_certificate"]:
        lines.append(
            _row("  note", "a board is served another certificate than OpenSSL; the chain above is the board's")
        )
    for fit in result["boards"]:
        refusal = [] if result["policy"]["ok"] else [f"it refuses the certificate ({result['policy']['code']})"]
        against = [*fit["problems"], *refusal]
        lines.append(_row(f"  {fit['id']}", "NO: " + "; ".join(against) if against else "yes"))
    for note in dict.fromkeys(note for fit in result["boards"] for note in fit["notes"]):
        lines.append(_row("  note", note))
    for cross in result["cross_signs"]:
        if not cross["needed"]:
            lines.append(_row("  cross-sign", f"'{cross['subject']}' by '{cross['signed_by']}', to {cross['until']}"))
    return lines


def _embed(result: dict[str, Any]) -> str:
    if result["store"].endswith(".py"):
        return f"it is in {result['store']}; rootlet deploy"
    if result["store"] != "certifi":
        return f"rootlet certs embed {result['store']} -o build/trust_roots.py"
    target = result["target"]
    return (
        f"rootlet inspect {target['host']}:{target['port']} --save-root root.pem && "
        "rootlet certs embed root.pem -o build/trust_roots.py"
    )


def _breaks(result: dict[str, Any]) -> list[str]:
    if not result["breaks"]:
        return []
    return ["", "what will break, and when", *(f"  {row['date']}  {row['what']}" for row in result["breaks"])]
