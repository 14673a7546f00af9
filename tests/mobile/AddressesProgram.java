package sonoforge.android;

/** Prints, for each address given, the file that it names and its type. */
final class AddressesProgram {
    public static void main(String[] addresses) {
        for (String address : addresses) {
            String file = Addresses.file(address);
            System.out.println(file == null ? "-" : file + " " + Addresses.type(file));
        }
    }
}
