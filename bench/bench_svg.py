"""Small pictures for benchmarks: grouped bars, and what ran when. SPDX-License-Identifier: MIT"""

from xml.sax.saxutils import escape

COLORS = ["#4269d0", "#efb118", "#6cc5b0", "#ff725c", "#97bbf5", "#a463f2"]
STYLE = "font-family:sans-serif;font-size:12px;fill:#333"


def text(x, y, s, anchor="start"):
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" style="{STYLE}">{escape(str(s))}</text>'


def rect(x, y, w, h, color):
    return f'<rect x="{x:.2f}" y="{y:.1f}" width="{max(w, 0.3):.2f}" height="{h:.1f}" fill="{color}"/>'


def save(path, width, height, parts):
    body = "\n".join(parts)
    with open(path, "w", encoding="utf-8") as f:
        f.write(
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" '
            f'height="{height}">\n<rect width="{width}" height="{height}" fill="#fff"/>\n{body}\n</svg>\n'
        )


def bars(path, title, panels):
    """panels: (name, unit, [(label, [(part, value), ...])]); the parts of a bar are stacked."""
    longest = max(len(label) for _, _, rows in panels for label, _ in rows)
    left, line, width = max(150, 26 + 7 * longest), 22, 760
    parts, y = [text(10, 22, title)], 40
    for name, unit, rows in panels:
        y += 24
        parts.append(text(10, y, f"{name}, {unit}"))
        names = list(dict.fromkeys(part for _, values in rows for part, _ in values))
        most = max(sum(v for _, v in values) for _, values in rows) or 1
        for i, part in enumerate(names if len(names) > 1 else []):
            parts += [
                rect(left + 200 + i * 130, y - 10, 10, 10, COLORS[i]),
                text(left + 214 + i * 130, y, part),
            ]
        for label, values in rows:
            y += line
            at = left
            parts.append(text(left - 8, y + 4, label, "end"))
            for part, v in values:
                w = v / most * (width - left - 90)
                parts.append(rect(at, y - 8, w, line - 8, COLORS[names.index(part)]))
                at += w
            whole = sum(v for _, v in values)
            parts.append(text(at + 6, y + 4, f"{whole:.0f}" if whole >= 100 else f"{whole:.3g}"))
        y += 10
    save(path, width, y + 20, parts)


def timeline(path, title, tracks, begin, end):
    """tracks: (label, [(from, to, color index)]); times in microseconds, shown from begin to end."""
    left, line, width = 150, 30, 900
    scale = (width - left - 20) / (end - begin)
    parts, y = [text(10, 22, title)], 34
    for label, spans in tracks:
        parts.append(text(left - 8, y + 16, label, "end"))
        parts.append(rect(left, y + 20, width - left - 20, 0.5, "#bbb"))
        for a, b, color in spans:
            a, b = max(a, begin), min(b, end)
            if a < b:
                parts.append(
                    rect(left + (a - begin) * scale, y + 4, (b - a) * scale, line - 14, COLORS[color])
                )
        y += line
    for i in range(6):
        t = (end - begin) * i / 5
        parts.append(
            text(
                left + t * scale,
                y + 14,
                f"{t / 1000:.1f} ms",
                ("start", "middle", "middle", "middle", "middle", "end")[i],
            )
        )
    save(path, width, y + 26, parts)
