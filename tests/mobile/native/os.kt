package android.system

import sonoforge.stand_in.Recorded

object Os {
    @JvmStatic fun setenv(name: String, value: String, overwrite: Boolean) {
        check(overwrite)
        Recorded.variables[name] = value
    }
}
