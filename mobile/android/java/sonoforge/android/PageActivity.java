package sonoforge.android;

import android.annotation.SuppressLint;
import android.app.Activity;
import android.content.ActivityNotFoundException;
import android.content.ClipData;
import android.content.Intent;
import android.content.res.Configuration;
import android.net.Uri;
import android.os.Bundle;
import android.provider.MediaStore;
import android.util.Base64;
import android.webkit.JavascriptInterface;
import android.webkit.ValueCallback;
import android.webkit.WebChromeClient;
import android.webkit.WebSettings;
import android.webkit.WebView;
import android.widget.TextView;
import android.widget.Toast;
import java.io.IOException;
import java.io.OutputStream;

/** The only screen: a web view that shows the page, and what the page needs of the phone. */
public final class PageActivity extends Activity {
    private static final int PICK = 1;
    private static final int CAPTURE = 2;
    private static final int SAVE = 3;
    private static final String CAPTURED = "captured";

    // Array.prototype.toReversed, the newest thing that the page uses, came with Chromium 110 (2023).
    private static final int OLDEST_CHROMIUM = 110;

    private final SharedPictures shared = new SharedPictures();
    private WebView page;
    private ValueCallback<Uri[]> chosen; // of the page's file input that waits for an answer
    private Uri captured; // where the camera app writes
    private byte[] content; // that waits for the place where it is saved

    @Override
    @SuppressLint("SetJavaScriptEnabled")
    protected void onCreate(Bundle state) {
        super.onCreate(state);
        page = new WebView(this);
        int chromium = Addresses.chromium(page.getSettings().getUserAgentString());
        if (chromium < OLDEST_CHROMIUM) {
            explain("Found version " + chromium + " of Android System WebView, expected " + OLDEST_CHROMIUM
                    + " or later.  Update it (or Chrome) in the phone's app store, and open this app again.");
            return;
        }
        if (state == null) {
            CaptureProvider.clear(this); // of a process that was killed
            shared.add(getIntent(), CaptureProvider.authority(this));
        } else {
            captured = state.getParcelable(CAPTURED);
        }
        WebSettings settings = page.getSettings();
        settings.setJavaScriptEnabled(true);
        settings.setDomStorageEnabled(true); // the language that a person chose
        settings.setAllowFileAccess(false);
        settings.setGeolocationEnabled(false);
        page.setWebViewClient(new AppFiles(this, shared));
        page.setWebChromeClient(new FileInputs());
        page.addJavascriptInterface(new Bridge(), "sonoforgeAndroid"); // see www/js/save.js
        setContentView(page);
        page.loadUrl(Addresses.PAGE);
    }

    private void explain(String sentence) {
        TextView view = new TextView(this);
        view.setText(sentence);
        view.setTextSize(20);
        view.setPadding(48, 48, 48, 48);
        setContentView(view);
    }

    @Override
    protected void onNewIntent(Intent intent) {
        shared.add(intent, CaptureProvider.authority(this));
        takeShared();
    }

    private void takeShared() {
        page.evaluateJavascript("window.sonoforgeTakeShared?.()", null);
    }

    @Override
    protected void onSaveInstanceState(Bundle state) {
        super.onSaveInstanceState(state);
        state.putParcelable(CAPTURED, captured); // Android may end this process while the camera app is open
    }

    @Override
    public void onConfigurationChanged(Configuration changed) {
        super.onConfigurationChanged(changed);
        getTheme().applyStyle(R.style.App, true); // light or dark, which the page's colours follow
    }

    @Override
    protected void onDestroy() {
        if (isFinishing()) {
            CaptureProvider.clear(this);
        }
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

        /** Returns the shared pictures that the page does not know of: {@code [[address, name]]}. */
        @JavascriptInterface
        public String shared() {
            return shared.tell(getContentResolver());
        }
    }

    private boolean start(Intent intent, int request, String otherwise) {
        try {
            startActivityForResult(intent, request);
            return true;
        } catch (ActivityNotFoundException error) {
            tell(otherwise);
            return false;
        }
    }

    private void tell(String sentence) {
        Toast.makeText(this, sentence, Toast.LENGTH_LONG).show();
    }

    /** The page's file inputs: pictures of the phone, or the camera app where the input says {@code capture}. */
    private final class FileInputs extends WebChromeClient {
        @Override
        public boolean onShowFileChooser(WebView view, ValueCallback<Uri[]> callback, FileChooserParams input) {
            answer(null);
            chosen = callback;
            boolean several = input.getMode() == FileChooserParams.MODE_OPEN_MULTIPLE;
            if (!(input.isCaptureEnabled() ? takePicture() : pick(several))) {
                answer(null);
            }
            return true;
        }
    }

    /** DICOM often has no name that says what it is: Android then takes it for a stream of bytes. */
    private boolean pick(boolean several) {
        String[] types = {"image/*", "application/dicom", "application/octet-stream"};
        Intent intent = new Intent(Intent.ACTION_GET_CONTENT).addCategory(Intent.CATEGORY_OPENABLE)
                .setType("*/*").putExtra(Intent.EXTRA_MIME_TYPES, types)
                .putExtra(Intent.EXTRA_ALLOW_MULTIPLE, several);
        return start(intent, PICK, "This phone has no app that chooses files.");
    }

    private boolean takePicture() {
        captured = CaptureProvider.next(this);
        Intent intent = new Intent(MediaStore.ACTION_IMAGE_CAPTURE).putExtra(MediaStore.EXTRA_OUTPUT, captured)
                .addFlags(Intent.FLAG_GRANT_WRITE_URI_PERMISSION | Intent.FLAG_GRANT_READ_URI_PERMISSION);
        intent.setClipData(ClipData.newRawUri("", captured));
        return start(intent, CAPTURE, "This phone has no camera app.");
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
        boolean done = result == RESULT_OK;
        if (request == PICK) {
            answer(done ? uris(data) : null);
        } else if (request == CAPTURE) {
            picture(done ? captured : null);
            captured = null;
        } else if (request == SAVE) {
            if (done && data != null && data.getData() != null) {
                write(data.getData());
            }
            content = null;
        }
    }

    private void picture(Uri taken) {
        if (chosen != null) {
            answer(taken == null ? null : new Uri[] {taken});
        } else if (taken != null) { // Android had ended this process: the page has started again, and asks for nothing
            shared.add(taken);
            takeShared();
        }
    }

    private static Uri[] uris(Intent data) {
        ClipData clip = data == null ? null : data.getClipData();
        if (clip == null) {
            return data == null || data.getData() == null ? null : new Uri[] {data.getData()};
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
            tell("Saved.");
        } catch (IOException | RuntimeException error) {
            tell("Not saved: " + error.getMessage());
        }
    }
}
