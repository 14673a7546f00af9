package sonoforge.android;

import android.content.ContentProvider;
import android.content.ContentValues;
import android.content.Context;
import android.database.Cursor;
import android.database.MatrixCursor;
import android.net.Uri;
import android.os.ParcelFileDescriptor;
import android.provider.OpenableColumns;
import java.io.File;
import java.io.FileNotFoundException;

/** Lets the camera app write one picture, and the page read it.  No other app sees any. */
public final class CaptureProvider extends ContentProvider {
    private static final String NAME = "picture-[0-9]{1,19}\\.jpg";

    static String authority(Context context) {
        return context.getPackageName() + ".capture";
    }

    /** Returns where the camera app may write the next picture. */
    static Uri next(Context context) {
        String name = "picture-" + System.currentTimeMillis() + ".jpg";
        return new Uri.Builder().scheme("content").authority(authority(context)).path(name).build();
    }

    /** Removes all pictures taken: they show patients. */
    static void clear(Context context) {
        File[] pictures = folder(context).listFiles();
        if (pictures != null) {
            for (File picture : pictures) {
                picture.delete();
            }
        }
    }

    private static File folder(Context context) {
        return new File(context.getCacheDir(), "captures");
    }

    private File file(Uri picture) throws FileNotFoundException {
        String name = picture.getLastPathSegment();
        if (name == null || !name.matches(NAME)) {
            throw new FileNotFoundException("no such picture");
        }
        folder(getContext()).mkdirs();
        return new File(folder(getContext()), name);
    }

    @Override
    public ParcelFileDescriptor openFile(Uri picture, String mode) throws FileNotFoundException {
        return ParcelFileDescriptor.open(file(picture), ParcelFileDescriptor.parseMode(mode));
    }

    @Override
    public Cursor query(Uri picture, String[] wanted, String where, String[] values, String order) {
        String[] columns = {OpenableColumns.DISPLAY_NAME, OpenableColumns.SIZE};
        MatrixCursor rows = new MatrixCursor(columns, 1);
        try {
            rows.addRow(new Object[] {picture.getLastPathSegment(), file(picture).length()});
        } catch (FileNotFoundException error) {
            // none of our pictures: no row
        }
        return rows;
    }

    @Override
    public String getType(Uri picture) {
        return "image/jpeg";
    }

    @Override
    public boolean onCreate() {
        return true;
    }

    @Override
    public Uri insert(Uri picture, ContentValues values) {
        throw new UnsupportedOperationException();
    }

    @Override
    public int update(Uri picture, ContentValues values, String where, String[] arguments) {
        throw new UnsupportedOperationException();
    }

    @Override
    public int delete(Uri picture, String where, String[] arguments) {
        throw new UnsupportedOperationException();
    }
}
