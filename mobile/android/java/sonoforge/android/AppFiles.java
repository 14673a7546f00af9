package sonoforge.android;

import android.content.Context;
import android.net.Uri;
import android.webkit.WebResourceRequest;
import android.webkit.WebResourceResponse;
import android.webkit.WebView;
import android.webkit.WebViewClient;
import java.io.ByteArrayInputStream;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.InputStream;
import java.util.HashMap;
import java.util.Map;

/** Answers every request of the page from the files in this package; none ever goes to a network. */
final class AppFiles extends WebViewClient {
    private final Context context;
    private final SharedPictures shared;

    AppFiles(Context context, SharedPictures shared) {
        this.context = context;
        this.shared = shared;
    }

    @Override
    public WebResourceResponse shouldInterceptRequest(WebView view, WebResourceRequest request) {
        String file = request.getMethod().equals("GET") ? Addresses.file(request.getUrl().toString()) : null;
        if (file == null) {
            return refused();
        }
        try {
            int picture = Addresses.sharedPicture(file);
            if (picture >= 0) {
                return found("application/octet-stream", sharedPicture(picture));
            }
            return found(Addresses.type(file), context.getAssets().open("www/" + file));
        } catch (IOException | RuntimeException | OutOfMemoryError error) { // another app may send what it likes
            return refused();
        }
    }

    /** Keeps the page where it is: nothing else is ever shown here. */
    @Override
    @SuppressWarnings("deprecation") // what replaces it came with Android 7, and calls this one
    public boolean shouldOverrideUrlLoading(WebView view, String address) {
        return Addresses.file(address) == null;
    }

    private InputStream sharedPicture(int number) throws IOException {
        Uri picture = shared.take(number);
        if (picture == null) {
            throw new IOException("no such picture");
        }
        try (InputStream stream = context.getContentResolver().openInputStream(picture)) {
            return whole(stream);
        }
    }

    /** Reads another app's stream to its end: a web view takes what such a stream has at first for its length. */
    private static InputStream whole(InputStream stream) throws IOException {
        ByteArrayOutputStream all = new ByteArrayOutputStream();
        byte[] part = new byte[65536];
        for (int count = stream.read(part); count >= 0; count = stream.read(part)) {
            all.write(part, 0, count);
        }
        return new ByteArrayInputStream(all.toByteArray());
    }

    private static WebResourceResponse found(String type, InputStream content) {
        String encoding = type.startsWith("text/") || type.endsWith("json") ? "utf-8" : null;
        return new WebResourceResponse(type, encoding, 200, "OK", headers(), content);
    }

    private static WebResourceResponse refused() {
        InputStream nothing = new ByteArrayInputStream(new byte[0]);
        return new WebResourceResponse("text/plain", "utf-8", 404, "Not Found", headers(), nothing);
    }

    private static Map<String, String> headers() {
        Map<String, String> headers = new HashMap<>();
        headers.put("Cache-Control", "no-store");
        headers.put("X-Content-Type-Options", "nosniff");
        headers.put("Content-Security-Policy", "frame-ancestors 'none'"); // a page's own policy cannot say this
        return headers;
    }
}
