package sonoforge.android;

import android.annotation.SuppressLint;
import android.app.Activity;
import android.content.ActivityNotFoundException;
import android.content.ClipData;
import android.content.Intent;
import android.content.res.Configuration;
import android.net.Uri;
import android.os.Bundle;
import android.util.Base64;
import android.webkit.JavascriptInterface;
import android.webkit.ValueCallback;
import android.webkit.WebChromeClient;
import android.webkit.WebResourceRequest;
import android.webkit.WebResourceResponse;
import android.webkit.WebSettings;
import android.webkit.WebView;
import android.webkit.WebViewClient;
import android.widget.TextView;
import android.widget.Toast;
import java.io.ByteArrayInputStream;
import java.io.IOException;
import java.io.InputStream;
import java.io.OutputStream;
import java.util.HashMap;
import java.util.Map;

/** The only screen: a web view that shows the page, and what the page needs of the phone. */
public final class PageActivity extends Activity {
    private static final int PICK = 1;
    private static final int SAVE = 2;

    // Array.prototype.toReversed, the newest thing that the page uses, came with Chromium 110 (2023).
    private static final int OLDEST_CHROMIUM = 110;

    private WebView page;
    private ValueCallback<Uri[]> chosen; // of the page's file input that waits for an answer
    private byte[] content; // that waits for the place where it is saved

    @Override
    @SuppressLint("SetJavaScriptEnabled")
    protected void onCreate(Bundle state) {
        super.onCreate(state);
        page = new WebView(this);
        int chromium = Addresses.chromium(page.getSettings().getUserAgentString());
        if (chromium < OLDEST_CHROMIUM) {
            TextView view = new TextView(this);
            view.setText("Android System WebView has version " + chromium + " but " + OLDEST_CHROMIUM
                    + " or later is needed.  Update it (or Chrome) in the phone's app store, and open this app again.");
            view.setTextSize(20);
            view.setPadding(48, 48, 48, 48);
            setContentView(view);
            return;
        }
        WebSettings settings = page.getSettings();
        settings.setJavaScriptEnabled(true);
        settings.setDomStorageEnabled(true); // the language that a person chose
        settings.setAllowFileAccess(false);
        settings.setGeolocationEnabled(false);
        page.setWebViewClient(new AppFiles());
        page.setWebChromeClient(new FileInputs());
        page.addJavascriptInterface(new Bridge(), "sonoforgeAndroid"); // see www/js/save.js
        setContentView(page);
        page.loadUrl(Addresses.PAGE);
    }

    @Override
    public void onConfigurationChanged(Configuration changed) {
        super.onConfigurationChanged(changed);
        getTheme().applyStyle(R.style.App, true); // light or dark, which the page's colours follow
    }

    @Override
    protected void onDestroy() {
        page.destroy();
        super.onDestroy();
    }

    /** Closes a dialog, goes back in the page or leaves the app in the background, where its answers are kept. */
    @Override
    @SuppressWarnings("deprecation") // what replaces it came with Android 13
    public void onBackPressed() {
        page.evaluateJavascript("window.sonoforgeBack?.() === true", closed -> {
            if ("true".equals(closed)) {
                return;
            }
            if (page.canGoBack()) {
                page.goBack();
            } else {
                moveTaskToBack(true);
            }
        });
    }

    /** Answers every request of the page from the files in this package; none ever goes to a network. */
    private final class AppFiles extends WebViewClient {
        @Override
        public WebResourceResponse shouldInterceptRequest(WebView view, WebResourceRequest request) {
            String file = request.getMethod().equals("GET") ? Addresses.file(request.getUrl().toString()) : null;
            try {
                if (file != null) {
                    return answer(Addresses.type(file), 200, "OK", getAssets().open("www/" + file));
                }
            } catch (IOException error) {
                // no such file
            }
            return answer("text/plain", 404, "Not Found", new ByteArrayInputStream(new byte[0]));
        }

        private WebResourceResponse answer(String type, int status, String reason, InputStream body) {
            Map<String, String> headers = new HashMap<>();
            headers.put("Cache-Control", "no-store");
            headers.put("X-Content-Type-Options", "nosniff");
            headers.put("Content-Security-Policy", "frame-ancestors 'none'"); // a page's own policy cannot say this
            String encoding = type.startsWith("text/") || type.endsWith("json") ? "utf-8" : null;
            return new WebResourceResponse(type, encoding, status, reason, headers, body);
        }

        /** Keeps the page where it is: nothing else is ever shown here. */
        @Override
        @SuppressWarnings("deprecation") // what replaces it came with Android 7, and calls this one
        public boolean shouldOverrideUrlLoading(WebView view, String address) {
            return Addresses.file(address) == null;
        }
    }

    /** What the page may call; it does so from a thread of its own. */
    private final class Bridge {
        /** Asks a person where to save bytes, which come in Base64. */
        @JavascriptInterface
        public void save(String name, String type, String base64) {
            byte[] given = Base64.decode(base64, Base64.DEFAULT);
            runOnUiThread(() -> {
                content = given;
                Intent intent = new Intent(Intent.ACTION_CREATE_DOCUMENT).addCategory(Intent.CATEGORY_OPENABLE)
                        .setType(type).putExtra(Intent.EXTRA_TITLE, name);
                start(intent, SAVE, "This phone has no app that saves files.");
            });
        }
    }

    /** The page's file inputs: Android's file chooser. */
    private final class FileInputs extends WebChromeClient {
        @Override
        public boolean onShowFileChooser(WebView view, ValueCallback<Uri[]> callback, FileChooserParams input) {
            answer(null);
            chosen = callback;
            // DICOM often has no name that says what it is: Android then takes it for a stream of bytes.
            String[] types = {"image/*", "application/dicom", "application/octet-stream"};
            Intent intent = new Intent(Intent.ACTION_GET_CONTENT).addCategory(Intent.CATEGORY_OPENABLE)
                    .setType("*/*").putExtra(Intent.EXTRA_MIME_TYPES, types)
                    .putExtra(Intent.EXTRA_ALLOW_MULTIPLE, true);
            if (!start(intent, PICK, "This phone has no app that chooses files.")) {
                answer(null);
            }
            return true;
        }
    }

    private boolean start(Intent intent, int request, String otherwise) {
        try {
            startActivityForResult(intent, request);
            return true;
        } catch (ActivityNotFoundException error) {
            show(otherwise);
            return false;
        }
    }

    private void show(String sentence) {
        Toast.makeText(this, sentence, Toast.LENGTH_LONG).show();
    }

    /** Gives the page's file input what was chosen; null for nothing. */
    private void answer(Uri[] files) {
        if (chosen != null) {
            chosen.onReceiveValue(files);
            chosen = null;
        }
    }

    @Override
    protected void onActivityResult(int request, int result, Intent data) {
        boolean done = result == RESULT_OK && data != null;
        if (request == PICK) {
            answer(done ? uris(data) : null);
        } else if (request == SAVE) {
            if (done && data.getData() != null) {
                write(data.getData());
            }
            content = null;
        }
    }

    private static Uri[] uris(Intent data) {
        ClipData clip = data.getClipData();
        if (clip == null) {
            return data.getData() == null ? null : new Uri[] {data.getData()};
        }
        Uri[] files = new Uri[clip.getItemCount()];
        for (int i = 0; i < files.length; i++) {
            files[i] = clip.getItemAt(i).getUri();
        }
        return files;
    }

    private void write(Uri place) {
        try (OutputStream file = getContentResolver().openOutputStream(place, "wt")) {
            if (file == null || content == null) { // Android had ended this process: it is gone
                throw new IOException("nothing to save");
            }
            file.write(content);
            show("Saved.");
        } catch (IOException | RuntimeException error) {
            show("Not saved: " + error.getMessage());
        }
    }
}
