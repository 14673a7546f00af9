package sonoforge.android;

import java.util.regex.Matcher;
import java.util.regex.Pattern;

/** Which of the app's files an address names, and of what type it is; needs nothing of Android. */
final class Addresses {
    /** Where the page lives: a name that Google keeps free for this purpose, so that it is a secure origin. */
    static final String PAGE = "https://appassets.androidplatform.net/";

    // Plain names alone: no "..", no escape, no hidden file.
    private static final String NAME = "[A-Za-z0-9_][A-Za-z0-9._-]*";
    private static final Pattern FILE = Pattern.compile(NAME + "(/" + NAME + ")*");
    private static final Pattern CHROMIUM = Pattern.compile("Chrome/([0-9]{1,6})\\.");

    private static final String[][] TYPES = {
        {".html", "text/html"},
        {".js", "text/javascript"},
        {".mjs", "text/javascript"},
        {".css", "text/css"},
        {".md", "text/markdown"},
        {".json", "application/json"},
        {".webmanifest", "application/manifest+json"},
        {".wasm", "application/wasm"},
        {".svg", "image/svg+xml"},
        {".png", "image/png"},
    };

    private Addresses() {}

    /** Returns the file that an address, which is not decoded, names, such as {@code js/app.js}; null where it names none. */
    static String file(String address) {
        if (address == null || !address.startsWith(PAGE)) {
            return null;
        }
        String path = address.substring(PAGE.length()).split("[?#]", 2)[0];
        if (path.isEmpty()) {
            return "index.html";
        }
        return FILE.matcher(path).matches() ? path : null;
    }

    /** Returns the type of a file, such as {@code text/javascript}. */
    static String type(String file) {
        for (String[] row : TYPES) {
            if (file.endsWith(row[0])) {
                return row[1];
            }
        }
        return "application/octet-stream";
    }

    /** Returns the version of Chromium that a web view names; 0 where it names none. */
    static int chromium(String userAgent) {
        Matcher found = CHROMIUM.matcher(userAgent);
        return found.find() ? Integer.parseInt(found.group(1)) : 0;
    }
}
