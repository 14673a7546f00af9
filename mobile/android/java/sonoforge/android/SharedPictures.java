package sonoforge.android;

import android.content.ContentResolver;
import android.content.Intent;
import android.database.Cursor;
import android.net.Uri;
import android.provider.OpenableColumns;
import android.util.SparseArray;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import org.json.JSONArray;

/** Pictures that other apps shared with this one, until the page reads them; used from several threads. */
final class SharedPictures {
    private static final int MOST = 500; // that wait at a time; a phone's gallery shares no more

    private final SparseArray<Uri> waiting = new SparseArray<>();
    private int told; // the page knows of those before
    private int next;

    /** Adds what an intent to share brings; nothing for another intent. */
    void add(Intent intent, String ownCaptures) {
        if ((intent.getFlags() & Intent.FLAG_ACTIVITY_LAUNCHED_FROM_HISTORY) != 0) {
            return; // shared before, and answered then
        }
        List<Uri> found = new ArrayList<>();
        try {
            if (Intent.ACTION_SEND.equals(intent.getAction())) {
                found.add(intent.<Uri>getParcelableExtra(Intent.EXTRA_STREAM));
            } else if (Intent.ACTION_SEND_MULTIPLE.equals(intent.getAction())) {
                found = intent.getParcelableArrayListExtra(Intent.EXTRA_STREAM);
            }
            for (Uri picture : found) {
                // A path of a file, or our own provider, would let another app name this one's own files.
                if ("content".equals(picture.getScheme()) && !ownCaptures.equals(picture.getAuthority())) {
                    add(picture);
                }
            }
        } catch (RuntimeException error) {
            // Another app's intent may hold anything; this one brings no picture.
        }
    }

    synchronized void add(Uri picture) {
        if (waiting.size() < MOST) {
            waiting.put(next++, picture);
        }
    }

    /** Returns address and name of the pictures that the page does not know of yet, as a JSON array. */
    String tell(ContentResolver resolver) {
        JSONArray pictures = new JSONArray();
        List<Uri> found = new ArrayList<>();
        int first;
        synchronized (this) {
            first = told;
            for (; told < next; told++) {
                found.add(waiting.get(told));
            }
        }
        for (int i = 0; i < found.size(); i++) {
            String address = Addresses.SHARED + (first + i);
            pictures.put(new JSONArray(Arrays.asList(address, name(resolver, found.get(i)))));
        }
        return pictures.toString();
    }

    /** Returns a picture and forgets it; null where there is none of this number. */
    synchronized Uri take(int number) {
        Uri picture = waiting.get(number);
        waiting.remove(number);
        return picture;
    }

    private static String name(ContentResolver resolver, Uri picture) {
        String[] wanted = {OpenableColumns.DISPLAY_NAME};
        try (Cursor rows = resolver.query(picture, wanted, null, null, null)) {
            if (rows != null && rows.moveToFirst() && rows.getString(0) != null) {
                return rows.getString(0);
            }
        } catch (RuntimeException error) { // another app's provider may throw what it likes
            // is called as one whose provider says nothing
        }
        return "shared picture";
    }
}
