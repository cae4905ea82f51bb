# Chooses the system to start, for U-Boot (package antler/image/slots says why
# it is as it is). The caller's devtype, devnum and distro_bootpart say where this
# script was found.
setenv from "${devtype} ${devnum}:${distro_bootpart}"
# Room for a kernel of 64 MiB, an initrd of 16 MiB, and what is read here.
setexpr ramdisk_addr_r ${kernel_addr_r} + 4000000
setexpr scratch ${kernel_addr_r} + 5000000
if test "${board}" = rpi; then
	setenv console "console=ttyS1,115200 console=tty0"
else
	setenv console "console=ttyAMA0"
fi
setenv slot a
setenv try none
if load ${from} ${scratch} slots.env 200; then
	env import -t ${scratch} 200 slot try
fi
if test "${slot}" = b; then
	setenv other a
else
	setenv slot a
	setenv other b
fi
setenv order "${slot} ${other}"
setenv trial none
# What is tried is forgotten first. Where that can't be written nothing is tried.
if test "${try}" = "${other}"; then
	setenv try none
	if env export -t -s 200 ${scratch} slot try && fatwrite ${from} ${scratch} slots.env 200; then
		setenv order "${other} ${slot}"
		setenv trial ${other}
	fi
fi
for entry in ${order}; do
	echo "antler: looking at slot ${entry}, trial ${trial}"
	setenv arguments
	if load ${from} ${scratch} ${entry}/entry.env 1000; then
		env import -t ${scratch} ${filesize} arguments
		setenv bootargs "${console} ${arguments} antler.slot=${entry} antler.loader"
		if test "${trial}" = "${entry}"; then
			setenv bootargs "${bootargs} antler.trial"
		fi
		if load ${from} ${kernel_addr_r} ${entry}/vmlinuz && load ${from} ${ramdisk_addr_r} ${entry}/initrd.img; then
			booti ${kernel_addr_r} ${ramdisk_addr_r}:${filesize} ${fdt_addr}
		fi
	fi
done
echo "antler: no slot holds a system that starts: write the card again"
sleep 10
reset
